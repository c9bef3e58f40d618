"""The real protocols through the CLI, on generated heads in the layouts of the data that cannot ship."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from avatarbench import registry
from avatarbench.cli import app
from avatarbench.datasets.layouts import write_nersemble, write_vfhq
from avatarbench.datasets.vfhq import VfhqDataset
from avatarbench.errors import UsageError
from avatarbench.run.local import FOLDER, write_local
from avatarbench.run.record import RunRecord, read_samples
from tests.conftest import Cli

TINY = ("run", "-m", "source-copy", "--size", 96, "--limit", 2)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("licensed")
    write_nersemble(root / "nersemble", ["501", "502"])
    write_vfhq(root / "vfhq", ["501", "502"], frames=4)
    return {name: root / name for name in ("nersemble", "vfhq")}


def records(folder: Path) -> dict[str, tuple[RunRecord, Path]]:
    found = {path.parent: RunRecord.load(path.parent) for path in folder.glob("runs/*/run.json")}
    return {record.protocol.id: (record, path) for path, record in found.items()}


@pytest.mark.parametrize(
    ("protocol", "metric", "pairs"),
    [("nersemble-self", "psnr", 2), ("vfhq-cross", "akd-mediapipe", 4)],
)
def test_the_protocols_run_on_generated_data_and_say_that_it_is(
    protocol: str, metric: str, pairs: int, cli: Cli, roots: dict[str, Path], tmp_path: Path
) -> None:
    name, _, task = protocol.partition("-")
    root = roots[name] if name == "nersemble" else roots[name].parent  # the clips' mark counts there too
    done = cli(*TINY, "-p", protocol, "--metric", metric, "--data-root", root)
    assert done.returncode == 0, done.stderr
    assert "data: openheads" in done.stdout
    assert "manifest: local" in done.stdout
    record, folder = records(tmp_path)[protocol]
    told = record.protocol
    assert (told.manifest_from, told.data, told.altered, told.size) == ("local", "openheads", 0, 96)
    assert any("that the rule asks for are in the data" in note for note in record.notes)
    assert told.pairs == pairs  # of NeRSemble's two people one is set aside for the fixed motion
    alike = [row["source"] == row["driver"] for row in read_samples(folder).to_pylist()]
    assert any(alike) == (task == "self")
    # The picture for a person to check: source, driver, what came out.
    assert Image.open(folder / "contact.png").size == (3 * 96, 18 + pairs * 96)
    background = json.loads((folder / "manifest.json").read_text())["image"]["background"]
    assert background == ("white" if name == "nersemble" else "kept")  # those clips have no masks


def test_a_prepared_manifest_is_read_and_what_changed_since_is_in_the_record(
    cli: Cli, roots: dict[str, Path], tmp_path: Path
) -> None:
    root = tmp_path / "vfhq é"
    shutil.copytree(roots["vfhq"], root)
    write_local(registry.protocol("vfhq-self"), VfhqDataset(root), root / FOLDER, data="openheads")
    run = ("run", "-m", "source-copy", "-p", "vfhq-self", "--size", 96, "--limit", 1, "--metric", "psnr")
    frame = next(root.glob("Clip*/00000003.png"))
    Image.open(next(root.glob("Clip*/00000002.png"))).save(frame)
    done = cli(*run, "--data-root", root)
    assert done.returncode == 0, done.stderr
    (record, _) = records(tmp_path)["vfhq-self"]
    assert record.protocol.altered == 1
    assert "the data is not what the manifest of vfhq-self was resolved on: 1 sequences" in done.stdout


def test_data_that_was_not_named_is_asked_for(
    cli: Cli, roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # commands set theirs, and this process goes on
    run = ("run", "-m", "source-copy", "--metric", "psnr")
    done = cli(*run, "-p", "nersemble-self")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for text in ("data check nersemble --root", "data prepare nersemble --root", "--data-root"):
        assert text in done.stderr
    assert not (tmp_path / "runs").exists()
    for arguments, text in (
        (("-p", "portrait-cross"), "no chosen protocol is on licensed data"),
        (("-p", "vfhq-self", "-p", "hdtf-self"), "data.vfhq=DIR data.hdtf=DIR"),
    ):
        found = CliRunner().invoke(app, [*run, *arguments, "--data-root", str(roots["vfhq"])]).exception
        assert isinstance(found, UsageError)
        assert text in str(found)


def test_show_tells_the_papers_rules_from_ours(cli: Cli) -> None:
    output = cli("show", "protocol", "vfhq-cross").stdout
    for part in (
        "papers say 1",
        "our choice 1",
        "sha256 of seed 1",
        "in a ring",
        "512 x 512 px, sRGB",
        "lanczos",
        "--data-root",
    ):
        assert part in output
