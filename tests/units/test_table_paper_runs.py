"""Which runs a paper's table takes, what it says of them, and where measured and published figures are set apart."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from avatarbench.errors import UsageError
from avatarbench.tables.build import build, load_run
from avatarbench.tables.grid import lay_out as lay_out_runs
from avatarbench.tables.layouts import layout
from avatarbench.tables.paper import PaperTable, fill
from avatarbench.tables.paper_csv import render
from avatarbench.tables.paper_grid import lay_out
from avatarbench.tables.published import load
from tests.units.runs_fixture import method, metric, write_run

ROWS = ("splitavatar", "gagavatar")
METHODS = [method(m) for m in ROWS]
PSNR = metric("psnr", name="PSNR", better="higher", unit="dB", digits=2)
VGG = metric("lpips-vgg", name="LPIPS-V")
ALEX = metric("lpips-alex", name="LPIPS-A")
SSIM = metric("ssim", name="SSIM", better="higher")
METRICS = [PSNR, SSIM, VGG, ALEX]
FIGURES = {"psnr": (21.5958, 20.9), "ssim": (0.8, 0.9), "lpips-vgg": (0.15, 0.1524), "lpips-alex": (0.1, 0.2)}
FRAMES = 4


def write(folder: Path, number: int = 1, methods: Any = METHODS, metrics: Any = METRICS, **changes: Any) -> Path:
    """A run of vfhq-self over four frames of two people, made on day ``number``."""
    values: dict[Any, Any] = {
        (m.id, k.id): [FIGURES[k.id][ROWS.index(m.id)]] * FRAMES
        for m in methods
        for k in metrics
        if m.id in ROWS and k.unavailable is None
    }
    protocol = {"id": "vfhq-self", "size": 512} | changes.pop("protocol", {})
    common: dict[str, Any] = {"pairs": FRAMES, "people": 2, "created": datetime(2026, 1, number, tzinfo=UTC)}
    return write_run(folder, methods, metrics, values, protocol=protocol, **common | changes)


def table_of(*folders: Path, runs: Path = Path("none"), **options: Any) -> PaperTable:
    return fill(layout("splitavatar", "1"), load(), folders, runs, **options)


def said(table: PaperTable) -> str:
    return "\n".join(lay_out(table).notes)


def differences(table: PaperTable) -> dict[str, dict[str, str]]:
    grid = lay_out(table)
    at = [i for i, c in enumerate(grid.columns) if c.group.startswith("measured − published")]
    return {grid.columns[i].text: {line.label.text: line.entries[i].text for line in grid.lines} for i in at}


def test_what_compares_is_subtracted_at_the_papers_digits(tmp_path: Path) -> None:
    found = differences(table_of(write(tmp_path / "r")))
    assert list(found) == ["Δ PSNR", "Δ SSIM?", "Δ LPIPS-V"]
    assert found["Δ PSNR"]["Ours (SplitAvatar)"] == "+0.5000"
    assert found["Δ PSNR"]["GAGAvatar"] == "−0.0694"
    assert found["Δ LPIPS-V"]["GAGAvatar"] == "0.0000"
    assert found["Δ PSNR"]["LAM"] == "n/a (not run)"


def test_what_does_not_compare_is_named_with_the_reason(tmp_path: Path) -> None:
    notes = said(table_of(write(tmp_path / "r")))
    assert "LPIPS-A (not comparable: AlexNet, where the paper takes VGG)" in notes
    assert "vfhq-self: no difference, since not comparable: LPIPS-A and the paper's LPIPS, " in notes
    assert "CSIM-Arc in self (not comparable: ours compares with the target frame, the paper with the source)" in notes
    assert "CSIM-Arc in cross (definition unknown: which ArcFace network is not stated)" in notes


def test_figures_of_generated_data_are_marked_and_never_subtracted(tmp_path: Path) -> None:
    run = write(tmp_path / "r", protocol={"data": "openheads", "manifest_from": "local"})
    table = table_of(run)
    grid = lay_out(table)
    assert grid.title.endswith("as published and as measured; vfhq-self on data: openheads")
    assert any(c.group == "measured: vfhq-self (N = 4, data: openheads)" for c in grid.columns)
    assert not differences(table)
    assert "vfhq-self ran on data: openheads, the paper's figures are of VFHQ." in said(table)
    assert lay_out_runs(build([load_run(run)])).title == "vfhq-self (N = 4, data: openheads)"
    assert "manifest abababababab (local)" in said(table)


def test_other_data_is_not_subtracted_either(tmp_path: Path) -> None:
    table = table_of(write(tmp_path / "r", protocol={"id": "openheads-self"}))
    assert not differences(table)
    assert "openheads-self is not measured on the paper's data, VFHQ." in said(table)


def test_data_that_is_not_the_manifests_is_not_subtracted(tmp_path: Path) -> None:
    table = table_of(write(tmp_path / "r", protocol={"altered": 2}))
    assert not differences(table)
    assert "2 sequences of the data of vfhq-self are not what its manifest names." in said(table)


def test_other_backgrounds_than_the_protocols_are_not_subtracted(tmp_path: Path) -> None:
    spec = {"image": {"background": "black"}}
    assert differences(table_of(write(tmp_path / "r", protocol={"spec": spec, "background": "black"})))
    table = table_of(write(tmp_path / "s", protocol={"spec": spec, "background": "kept"}))
    assert not differences(table)
    assert "backgrounds are kept in vfhq-self for lack of masks, not black as its protocol asks." in said(table)


def test_a_run_that_cuts_its_protocol_is_taken_only_where_it_is_named(tmp_path: Path) -> None:
    write(tmp_path / "whole", 1)
    cut = write(tmp_path / "cut", 2, config={"frames": {"limit": 8}})
    table = table_of(runs=tmp_path)
    assert [r.record.id for r in table.chosen.runs] == ["whole"]
    assert "Left out: run cut is not the protocol as it stands (frames.limit=8). Name it" in said(table)
    table = table_of(cut)
    assert lay_out(table).title.endswith("; not the whole protocol in run cut: frames.limit=8")
    assert not differences(table)
    assert "Run cut of 2026-01-02: vfhq-self version 1, splitavatar, gagavatar; options: frames.limit=8." in said(table)


def test_only_cut_runs_leave_a_table_without_runs(tmp_path: Path) -> None:
    write(tmp_path / "cut", config={"sources": {"limit": 1}})
    table = table_of(runs=tmp_path)
    assert table.ours is None
    assert "Left out: run cut" in said(table)
    assert "n/a (no run), self: no finished run of vfhq-self or openheads-self" in said(table)


def test_runs_and_the_options_of_their_methods_are_named(tmp_path: Path) -> None:
    write(tmp_path / "r", methods=[method("splitavatar", options={"layers": 3}), METHODS[1]])
    notes = said(table_of(runs=tmp_path))
    assert "Run r of 2026-01-01: vfhq-self version 1, splitavatar, gagavatar; options: splitavatar: layers=3." in notes


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"metrics": [PSNR.model_copy(update={"version": 7})]}, "measured psnr by version 7, here it is version 1."),
        ({"protocol": {"version": 9}}, "ran version 9 of vfhq-self, here it is version 1."),
    ],
    ids=["metric", "protocol"],
)
def test_a_run_by_another_version_is_left_out_with_both_and_the_remedy(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    write(tmp_path / "now", 1)
    write(tmp_path / "then", 2, **changes)
    table = table_of(runs=tmp_path)
    assert [r.record.id for r in table.chosen.runs] == ["now"]
    assert f"Left out: run then {why} Repeat it with: avatarbench run" in said(table)


def test_named_runs_of_two_versions_are_refused_with_both_and_the_remedy(tmp_path: Path) -> None:
    one = write(tmp_path / "one", methods=METHODS[:1])
    protocol = write(tmp_path / "two", methods=METHODS[1:], protocol={"version": 2})
    with pytest.raises(
        UsageError, match=r"'vfhq-self' has version 1 in the first and 2 .* Repeat run one with: avatar"
    ):
        table_of(one, protocol)
    newer = PSNR.model_copy(update={"version": 2})
    other = write(tmp_path / "three", methods=METHODS[1:], metrics=[newer, VGG])
    with pytest.raises(UsageError, match=r"metric 'psnr' has version 1 in run one and 2 in run three.* Repeat run one"):
        table_of(one, other)
    assert table_of(one, other, metrics=["lpips-vgg"]).ours is not None


def test_the_papers_own_protocol_goes_before_openheads_and_real_data_before_generated(tmp_path: Path) -> None:
    write(tmp_path / "open", 3, protocol={"id": "openheads-self"})
    assert "No run of vfhq-self to take" in said(table_of(runs=tmp_path))
    write(tmp_path / "generated", 2, protocol={"data": "openheads", "manifest": "cd" * 32})
    assert [r.record.id for r in table_of(runs=tmp_path).chosen.runs] == ["generated"]
    write(tmp_path / "real", 1)
    table = table_of(runs=tmp_path)
    assert [r.record.id for r in table.chosen.runs] == ["real"]
    assert "Left out, since they ran on other frames of vfhq-self: generated (N = 4)." in said(table)


def test_what_only_stands_in_for_a_method_has_no_row(tmp_path: Path) -> None:
    stand_in = method("gagavatar", spec={"factory": "made:up", "stand_in": True})
    run = write(tmp_path / "r", methods=[METHODS[0], stand_in])
    table = table_of(run)
    assert table.ours is not None
    assert [r.id for r in table.ours.rows] == ["splitavatar"]
    assert "run r: left out, since what ran only stands in for a method: gagavatar" in said(table)
    write(tmp_path / "alone", methods=[stand_in])
    assert [r.record.id for r in table_of(runs=tmp_path).chosen.runs] == ["r"]


def test_a_column_without_weights_names_the_asset(tmp_path: Path) -> None:
    lacking = VGG.model_copy(update={"unavailable": "weights", "spec": {"assets": ["vgg16-lpips"]}})
    table = table_of(write(tmp_path / "r", metrics=[PSNR, lacking]))
    assert "n/a (weights): LPIPS-V (vgg16-lpips is not here)." in said(table)


def test_csv_tells_comparability_options_and_differences(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(render(table_of(write(tmp_path / "r"))))))
    own = {(r["method"], r["metric"]): r for r in rows if r["side"] == "measured" and r["task"] == "self"}
    psnr = own["splitavatar", "psnr"]
    assert (psnr["comparability"], psnr["options"], psnr["data"]) == ("comparable", "", "vfhq-self")
    assert float(psnr["difference"]) == pytest.approx(0.5)
    assert own["splitavatar", "lpips-alex"]["difference"] == ""
    assert {r["comparability"] for r in rows if r["metric"] == "AKD"} == {"not comparable"}


def test_methods_that_the_paper_lacks_are_added_below_its_rows_where_asked(tmp_path: Path) -> None:
    floor = method("floor", name="Floor", role="bound")
    values: dict[Any, Any] = {(m, "psnr"): [v] * FRAMES for m, v in (("floor", 40.0), ("mine", 30.0), (ROWS[0], 20.0))}
    protocol = {"id": "vfhq-self", "size": 512}
    run = write_run(
        tmp_path / "r", [floor, method("mine"), METHODS[0]], [PSNR], values, pairs=FRAMES, people=2, protocol=protocol
    )
    grid = lay_out(table_of(run, also=["floor", "mine", "splitavatar"]))
    assert [line.label.text for line in grid.lines][-3:] == ["Ours (SplitAvatar)", "Floor", "mine"]
    assert {line.label.group for line in grid.lines[-2:]} == {"not in the paper's table"}
    at = next(i for i, c in enumerate(grid.columns) if c.group.startswith("measured: "))
    own = [line.entries[at] for line in grid.lines[-3:]]
    assert [(e.text, e.mark, e.italic) for e in own] == [
        ("20.00", "second", False),
        ("40.00", None, True),
        ("30.00", "best", False),
    ]
    assert {line.entries[0].text for line in grid.lines[-2:]} == {"n/a (not in the paper)"}
    with pytest.raises(UsageError, match=r"no run taken has the method 'mime', did you mean 'mine'"):
        table_of(run, also=["mime"])
