"""The OpenHeads protocols through the CLI, on a small folder laid out as the test split: real faces that move."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from avatarbench.run.record import RunRecord, read_samples
from tests.conftest import Cli
from tests.units.nersemble_fixture import FRONTAL, LEFT, RIGHT, write_split

PROTOCOLS = ("openheads-self", "openheads-cross", "openheads-cross-gt")
METRICS = ("--metric", "psnr", "--metric", "akd-mediapipe", "--metric", "csim-dlib", "--metric", "fd-vgg")


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    face = np.asarray(Image.fromarray(astronaut()[0:280, 90:370]).resize((128, 128)))
    people = {"501": face, "502": face[:, ::-1], "503": np.roll(face, 1, 2), "509": face // 4 * 3}
    return write_split(tmp_path_factory.mktemp("heads"), people)


def runs(folder: Path) -> dict[str, tuple[RunRecord, Path]]:
    found = {p.parent: RunRecord.load(p.parent) for p in folder.glob("runs/*/run.json")}
    return {record.protocol.id: (record, path) for path, record in found.items()}


def test_three_methods_run_on_the_three_protocols(cli: Cli, heads: Path, tmp_path: Path) -> None:
    protocols = [word for p in PROTOCOLS for word in ("-p", p)]
    done = cli(
        "run", "-m", "source-copy", "-m", "oracle", "-m", "face-warp", *protocols, "--openheads", heads, "--sources", 2,
        "--limit", 4, "--size", 128, "--skip-missing", *METRICS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = runs(tmp_path)
    assert {p: r.protocol.pairs for p, (r, _) in found.items()} == dict.fromkeys(PROTOCOLS, 8)
    values = {p: {(r.method, r.metric): r.value for r in record.results} for p, (record, _) in found.items()}
    assert values["openheads-self"]["oracle", "psnr"] == 100
    assert values["openheads-cross-gt"]["oracle", "psnr"] == 100
    assert "n/a (needs target)" in done.stdout
    # Across identities the motion is the driver's and the person is the portrait's, with truth or without.
    assert values["openheads-cross-gt"]["source-copy", "csim-dlib"] == pytest.approx(1, abs=1e-6)
    assert values["openheads-cross-gt"]["oracle", "csim-dlib"] < 1
    assert values["openheads-cross-gt"]["source-copy", "akd-mediapipe"] == pytest.approx(
        values["openheads-cross"]["source-copy", "akd-mediapipe"]
    )
    # The reference sets: 8 targets; portrait and free motion of two people, 7 frames each; 8 true pictures.
    sizes = {p: {m.id: m.reference_frames for m in r.metrics}["fd-vgg"] for p, (r, _) in found.items()}
    assert sizes == dict(zip(PROTOCOLS, (8, 14, 8), strict=True))
    drivers = {row["driver"] for row in read_samples(found["openheads-cross"][1]).to_pylist()}
    assert drivers == {f"509_FREE_{s}" for s in (FRONTAL, LEFT, RIGHT)}
    widths = {p: Image.open(path / "contact.png").width // 128 for p, (_, path) in found.items()}
    assert widths == dict(zip(PROTOCOLS, (5, 4, 6), strict=True))  # no oracle; truth beside it


def test_a_resumed_run_is_the_same_and_a_changed_picture_stops_it(cli: Cli, tmp_path: Path) -> None:
    face = np.asarray(Image.fromarray(astronaut()[0:280, 90:370]).resize((64, 64)))
    heads = write_split(tmp_path / "heads", {"501": face, "509": face})
    arguments = ("run", "-m", "oracle", "-p", "openheads-cross-gt", "--openheads", heads, "--metric", "psnr")
    assert cli(*arguments, "--size", 64).returncode == 0
    assert cli("run", "--resume", "last").returncode == 0
    frame = heads / "501" / "sequences" / "FREE-AS-509" / "images" / f"cam_{FRONTAL}" / "frame_00000.webp"
    Image.fromarray(face // 2).save(frame, lossless=True)
    done = cli("run", "--resume", "last")
    assert done.returncode == 2
    assert "input files have changed" in done.stderr


def test_sequences_of_a_folder_of_ones_own_can_be_chosen(cli: Cli, heads: Path, tmp_path: Path) -> None:
    done = cli(
        "run", "-m", "source-copy", "-p", "openheads-cross", "--openheads", heads, "--metric", "akd-mediapipe",
        "--size", 64, f"sources.sequences=[502_FREE_{FRONTAL}]", f"frames.sequences=[501_FREE_{LEFT}]",
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    manifest = json.loads(next(tmp_path.glob("runs/*/manifest.json")).read_text())
    assert {p["driver"]["sequence"] for p in manifest["pairs"]} == {f"501_FREE_{LEFT}"}
    assert {p["source"]["sequence"] for p in manifest["pairs"]} == {f"502_FREE_{FRONTAL}"}


def test_bad_folders_and_patterns_stop_before_any_work(cli: Cli, heads: Path, tmp_path: Path) -> None:
    base = ("run", "-m", "source-copy", "-p", "openheads-cross-gt", "--metric", "psnr")
    (tmp_path / "empty").mkdir()
    for arguments, text in (
        (("--openheads", "empty"), "looked for NNN/sequences/NAME/images"),
        (("--openheads", heads, "frames.sequences=[777_*]"), "no sequence like 777_*"),
        (("--openheads", heads, "frames.sequences=[501_FREE_*]"), "no sequence '502_FREE-AS-501_"),
        (("--openheads", heads, "--sources", 0), "sources.limit"),
    ):
        done = cli(*base, *arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert text in done.stderr
        assert "Traceback" not in done.stderr
    done = cli("run", "-m", "source-copy", "-p", "portrait-cross", "--openheads", heads)
    assert "no chosen protocol reads the dataset 'openheads'" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_show_tells_rule_cameras_sequences_and_set_sizes(protocol: str, cli: Cli) -> None:
    shown = cli("show", "protocol", protocol)
    assert shown.returncode == 0
    output = shown.stdout
    counts = "9 sources, 216 pairs" if protocol == "openheads-self" else "8 sources, 192 pairs"
    assert re.search(r"\b[0-9a-f]{64}\b", output)
    for part in (counts, "*_PORTRAIT_222200037", "3 target cameras", "222200037", "seed", "never truth", "pairs"):
        assert part in output
    assert ("{source}_{sequence}-AS-{driver}_{camera}" in output) == (protocol == "openheads-cross-gt")
