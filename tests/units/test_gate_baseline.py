"""The baseline file: what it keeps, how large it is, and what it says to an edit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from avatarbench.errors import DataError, UsageError
from avatarbench.gate.baseline import Baseline, load, save, seal
from avatarbench.gate.make import kept_tolerances, of_folder, require_values, with_reruns
from avatarbench.gate.tolerance import DEFAULTS, default, parse
from tests.units.gate_fixture import gate_baseline, gate_run, levels


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    values: list[float | str] = [*levels(0.2)]
    values[3] = "no face found"
    path = tmp_path / "base.json"
    save(gate_baseline(tmp_path / "run", {"lpips-vgg": values, "psnr": levels(20)}), path)
    return path


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_saved_baseline_gives_back_values_reasons_and_identities(saved: Path) -> None:
    found = load(saved)
    column = found.column("warp", "lpips-vgg")
    assert column is not None
    assert math.isnan(column["face3/clip/000003"].value)
    assert column["face3/clip/000003"].reason == "no face found"
    assert [column[f"face{i % 4}/clip/{i:06d}"].value for i in (0, 1, 2)] == pytest.approx(levels(0.2)[:3], rel=1e-6)
    assert set(found.sources().values()) == {"face0", "face1", "face2", "face3"}
    assert found.column("warp", "fid") is None
    assert "NaN" not in saved.read_text()


def test_saving_what_was_loaded_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    save(load(saved), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == saved.read_bytes()


def test_a_paper_sized_baseline_stays_within_a_few_hundred_kilobytes(tmp_path: Path) -> None:
    values = {f"metric-{i}": levels(0.123456789, frames=250 * 8, people=25, seed=i) for i in range(14)}
    save(gate_baseline(tmp_path / "run", values, people=25), tmp_path / "base.json")
    assert (tmp_path / "base.json").stat().st_size < 500_000


def test_an_edited_value_is_refused_and_an_edited_tolerance_counts(saved: Path) -> None:
    edit(saved, tolerances={"*": {"psnr": 3.0}, "warp": {"coverage": 0.1}})
    assert load(saved).tolerances["*"] == {"psnr": 3.0}
    values = json.loads(saved.read_text())["values"]
    values["warp"]["psnr"]["values"][0] -= 5
    edit(saved, values=values)
    with pytest.raises(UsageError, match=r"edited after it was saved.*--update"):
        load(saved)
    assert kept_tolerances(saved) == {"*": {"psnr": 3.0}, "warp": {"coverage": 0.1}}  # what --update carries over


def test_a_file_of_an_earlier_version_with_fewer_fields_is_still_sealed(saved: Path) -> None:
    content = json.loads(saved.read_text())
    del content["reruns"], content["spread"], content["protocol"]["data"]
    edit(saved)
    saved.write_text(json.dumps(content | {"digest": seal(content)}))
    assert load(saved).spread == {}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"format": 1, "digest"', "is not a baseline"),
        ("[1, 2]", "no format number"),
        ('{"format": 1}', "not a valid baseline: run: Field required"),
        ('{"format": 2, "anything": 1}', "format 2, this avatarbench reads up to 1: upgrade"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=text):
        load(path)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="avatarbench baseline save RUN -o"):
        load(tmp_path / "none.json")


def test_columns_of_another_length_are_refused_though_sealed(saved: Path) -> None:
    content = json.loads(saved.read_text())
    content["values"]["warp"]["psnr"]["values"].pop()
    saved.write_text(json.dumps(content | {"digest": seal(content)}))
    with pytest.raises(UsageError, match="differ in length"):
        load(saved)


@pytest.mark.parametrize("tolerances", [{"*": {"psrn": 1.0}}, {"wrap": {"psnr": 1.0}}, {"*": {"psnr": -1.0}}])
def test_a_tolerance_of_nothing_is_refused(saved: Path, tolerances: dict) -> None:
    edit(saved, tolerances=tolerances)
    with pytest.raises(UsageError, match=r"no method or metric here. Methods: \*, warp. Metrics: coverage"):
        load(saved)


def test_tolerances_are_read_from_flags() -> None:
    given = parse(["lpips-vgg=0.005", "pointillist/ar-feature:psnr=0.3", "warp:coverage=0"])
    assert given == {"*": {"lpips-vgg": 0.005}, "pointillist/ar-feature": {"psnr": 0.3}, "warp": {"coverage": 0.0}}
    for wrong in ("psnr", "psnr=", "=1", "psnr=-1", "psnr=nan", "psnr=inf", "warp:=1"):
        with pytest.raises(UsageError, match="is not"):
            parse([wrong])


def test_every_registered_metric_has_a_tolerance_with_a_reason() -> None:
    from avatarbench import registry

    assert set(registry.names("metrics")) - DEFAULTS.keys() <= {"tint"}  # the tests' own plugin
    assert all(t.why and max(t.absolute, t.relative) > 0 for t in DEFAULTS.values())
    assert default("somebodys", 2).of(100) == 0.5
    assert default("somebodys", 2).of(0.1) == 0.01


def test_an_unfinished_or_truncated_run_makes_no_baseline(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is running and has no results"):
        of_folder(gate_run(tmp_path / "a", {"psnr": levels(20)}, status="running", results=[]))
    with pytest.raises(DataError, match=r"truncated: samples.parquet has 24 samples, run.json promises 30"):
        of_folder(gate_run(tmp_path / "b", {"psnr": levels(20)}, pairs=30))
    with pytest.raises(DataError, match="a metric has 20 of 24 samples"):
        of_folder(gate_run(tmp_path / "c", {"psnr": levels(20), "ssim": levels(1)[:20]}))
    manifest = gate_run(tmp_path / "d", {"psnr": levels(20)}) / "manifest.json"
    for content in (
        "",
        "[]",
        '{"image": {}}',
        '{"image": {}, "pairs": [{"source": null}]}',
        '{"image": 1, "pairs": []}',
    ):
        manifest.write_text(content)
        with pytest.raises(DataError, match=r"cannot read manifest\.json"):
            of_folder(tmp_path / "d")
    manifest.unlink()
    with pytest.raises(DataError, match=r"cannot read manifest\.json \(FileNotFound"):
        of_folder(tmp_path / "d")


def test_a_run_without_any_value_is_nothing_to_hold_others_against(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no value at all"):
        require_values(gate_baseline(tmp_path / "run", {"psnr": ["no face found"] * 8}))


def test_reruns_leave_the_largest_difference_of_any_two(tmp_path: Path) -> None:
    def again(name: str, by: float) -> Baseline:
        shifted: list[float | str] = [v + by for v in levels(0.2)]
        if by > 0.01:
            shifted[:2] = ["no face found"] * 2
        return gate_baseline(tmp_path / name, {"lpips-vgg": shifted}, sets={"fid": (9 + 10 * by, 24)})

    made = with_reruns(again("a", 0), [again("b", -0.01), again("c", 0.02)])
    spread = made.spread["warp"]
    assert spread["lpips-vgg"].mean == pytest.approx(0.03, rel=1e-5)
    assert spread["lpips-vgg"].valid == 2
    assert spread["fid"].mean == pytest.approx(0.3, rel=1e-5)
    assert made.reruns == ["b", "c"]


def test_a_rerun_is_another_run_of_the_same(tmp_path: Path) -> None:
    first = gate_baseline(tmp_path / "a", {"psnr": levels(20)})
    with pytest.raises(UsageError, match="run a was given twice"):
        with_reruns(first, [first])
    other = gate_baseline(tmp_path / "b", {"ssim": levels(1)}, protocol={"version": 2})
    with pytest.raises(UsageError, match=r"other protocol, manifest or data, metrics, definitions or weights\."):
        with_reruns(first, [other])
