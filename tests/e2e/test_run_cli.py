"""``avatarbench run`` on real frames: what it writes, how it resumes, what it says."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench.run.record import RunRecord, read_samples
from tests.conftest import Cli, Started, call
from tests.e2e.media import FACE, NO_FACE, moving_face, two_faces, write_image, write_video
from tests.started import Call

METRICS = ("--metric", "psnr", "--metric", "akd-mediapipe", "--metric", "lpips-alex")
FAST = METRICS[:4]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", moving_face(24))


def only_run(folder: Path) -> Path:
    (run,) = (p.parent for p in folder.glob("runs/*/run.json"))
    return run


def test_one_run_compares_methods_and_leaves_a_traceable_record(cli: Cli, clip: Path, tmp_path: Path) -> None:
    done = cli(
        "run", "-m", "source-copy", "-m", "oracle", "-m", "face-warp", "-p", "clip-self", "--clip", clip, "--stride", 4,
        *METRICS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    record = RunRecord.load(run)
    assert record.status == "complete"
    assert record.protocol.pairs == 5
    assert {m.id: m.frames for m in record.methods} == {"source-copy": 5, "oracle": 5, "face-warp": 5}
    value = {(r.method, r.metric): r.value for r in record.results}
    assert value["oracle", "lpips-alex"] == 0
    assert value["oracle", "akd-mediapipe"] == 0
    assert value["face-warp", "akd-mediapipe"] < value["source-copy", "akd-mediapipe"]
    assert record.environment.packages["mediapipe"]
    assert all(len(h) == 64 for m in record.metrics for h in m.assets.values())
    assert [m.tracker_is_judge for m in record.methods] == [[], [], ["akd-mediapipe"]]
    assert read_samples(run).num_rows == 3 * 5 * 3
    target = np.asarray(Image.open(next((run / "predictions" / "oracle").rglob("*.png"))))
    assert target.shape == (256, 256, 3)
    assert Image.open(run / "contact.png").size == (5 * 256, 5 * 256 + 18)
    for name in ("Source copy", "Oracle", "Face warp"):
        assert name in done.stdout


def test_resuming_after_a_kill_gives_what_an_undisturbed_run_gives(
    cli: Cli, started: Started, clip: Path, tmp_path: Path
) -> None:
    """Several people, one in grey, one beside another, one without a face; killed while rendering and while scoring."""
    write_image(tmp_path / "people" / "blank.png", NO_FACE)
    write_image(tmp_path / "people" / "grey.png", FACE.mean(axis=2).astype(np.uint8))
    write_image(tmp_path / "people" / "one.png", FACE)
    write_image(tmp_path / "people" / "pair.png", two_faces())
    arguments = (
        "-m", "face-warp", "-m", "source-copy", "-p", "portrait-cross", "--clip", clip, "--portraits", "people",
        "--stride", 8, "--metric", "akd-mediapipe", "--metric", "fd-vgg",
    )  # fmt: skip
    assert cli("run", *arguments, "--out", "whole").returncode == 3
    whole = next(tmp_path.glob("whole/*/run.json")).parent
    assert any("grey" in note for note in RunRecord.load(whole).notes)
    assert any("2 faces" in note for note in RunRecord.load(whole).notes)
    for stage in ("frame", "scores"):
        process = started("run", *arguments, "--out", stage)
        journal = wait_for(tmp_path / stage, f'"kind": "{stage}"', process)
        process.kill()
        assert process.returncode == -signal.SIGKILL
        lines = journal.read_bytes()
        journal.write_bytes(lines + b'{"kind": "frame", "method": "fa')  # as a torn write leaves it
        done = cli("run", "--resume", journal.parent)
        assert done.returncode == 3, done.stderr
        assert journal.read_bytes().startswith(lines)
        for name in ("samples.parquet", "contact.png", "inputs.json", "manifest.json"):
            assert (journal.parent / name).read_bytes() == (whole / name).read_bytes(), name
        ours, theirs = (RunRecord.load(run) for run in (journal.parent, whole))
        assert ours.model_dump_json(include={"results", "notes"}) == theirs.model_dump_json(
            include={"results", "notes"}
        )


def test_a_prediction_that_changed_is_rendered_and_scored_again(cli: Cli, clip: Path, tmp_path: Path) -> None:
    assert cli("run", "-m", "face-warp", "-p", "clip-self", "--clip", clip, "--limit", 2, *FAST).returncode == 0
    run = only_run(tmp_path)
    before = read_samples(run).to_pylist()
    path = next((run / "predictions").rglob("*.png"))
    write_image(path, NO_FACE)
    journal = run / "journal.jsonl"
    old = json.loads(next(line for line in journal.read_text().splitlines() if '"kind": "scores"' in line))
    journal.write_text(journal.read_text().replace(old["digest"], "0" * 64))  # as if it had been another picture
    assert cli("run", "--resume", "last").returncode == 0
    assert read_samples(run).to_pylist() == before


def test_weights_that_arrive_later_do_not_change_a_finished_run(cli: Cli, clip: Path, tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    for name in ("face-landmarker",):
        done = cli("assets", "path", name)
        (assets / Path(done.stdout.strip()).name).write_bytes(Path(done.stdout.strip()).read_bytes())
    poor = {"AVATARBENCH_OFFLINE": "1", "AVATARBENCH_CACHE": str(tmp_path / "cache"), "AVATARBENCH_ASSETS": str(assets)}
    arguments = ("-m", "source-copy", "-p", "clip-self", "--clip", clip, "--limit", 2, "--skip-missing")
    metrics = ("--metric", "psnr", "--metric", "lpips-alex")
    done = cli("run", *arguments, *metrics, env=poor)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    before = RunRecord.load(run)
    assert [m.unavailable for m in before.metrics] == [None, "weights"]
    done = cli("run", "--resume", "last")
    assert done.returncode == 0, done.stderr
    after = RunRecord.load(run)
    assert after.model_dump_json(include={"results", "metrics"}) == before.model_dump_json(
        include={"results", "metrics"}
    )


def test_everything_missing_from_every_protocol_is_reported_at_once(cli: Cli, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("not a video " * 100)
    done = cli(
        "run", "-m", "oracle", "-p", "clip-self", "-p", "portrait-cross", "--clip", "bad.mp4", "--portraits", "nowhere",
        "--metric", "fid", "--device", "cuda", env={"AVATARBENCH_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 2
    for text in ("bad.mp4", "nowhere", "inception-2015", "needs target", "no CUDA device"):
        assert text in done.stderr, text
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_options_are_checked_before_the_run_starts(cli: Cli, clip: Path, tmp_path: Path) -> None:
    base = ("run", "-m", "face-warp", "-p", "clip-self", "--clip", clip, "--metric", "psnr")
    for wrong, text in (
        ("+method.face-wrap.x=1", "did you mean 'face-warp'"),
        ("+method.face-warp.x=1", "'x'"),
        ("method.face-warp.x=1", "+method.face-warp.x=1"),
    ):
        done = cli(*base, wrong)
        assert done.returncode == 2, done.stderr
        assert text in done.stderr
    assert not (tmp_path / "runs").exists()
    assert cli("run", "--resume", "last", "--limit", 0).returncode == 2


def test_interrupted_with_two_protocols_both_can_be_resumed_from_anywhere(
    cli: Cli, started: Started, clip: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "clip.mp4").write_bytes(clip.read_bytes())
    process = started(
        "run", "-m", "face-warp", "-p", "clip-self", "-p", "portrait-cross", "--clip", "clip.mp4", "--stride", "1",
        "--metric", "akd-mediapipe", cwd=work,
    )  # fmt: skip
    wait_for(work / "runs", '"kind": "frame"', process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    runs = [line.split()[-1] for line in errors.splitlines() if "avatarbench run --resume" in line]
    assert len(runs) == 2
    for run in runs:
        done = cli("run", "--resume", work / run)
        assert done.returncode == 0, done.stderr
        assert RunRecord.load(work / run).status == "complete"


def wait_for(folder: Path, text: str, process: Call, seconds: float = 120) -> Path:
    """The journal, once it holds ``text``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        for journal in folder.glob("*/journal.jsonl"):
            if text in journal.read_text():
                return journal
        time.sleep(0.01)
    raise AssertionError(f"the run ended ({process.poll()}) or took {seconds} s before writing {text}")


def test_interrupt_says_how_to_go_on_and_loses_nothing(cli: Cli, started: Started, clip: Path, tmp_path: Path) -> None:
    process = started("run", "-m", "face-warp", "-p", "clip-self", "--clip", clip, "--stride", "1", *FAST)
    wait_for(tmp_path / "runs", '"kind": "frame"', process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    run = only_run(tmp_path)
    assert f"avatarbench run --resume runs/{run.name}" in errors
    assert "Traceback" not in errors
    assert RunRecord.load(run).status == "interrupted"
    assert cli("run", "--resume", "last").returncode == 0
    assert RunRecord.load(run).status == "complete"


def test_resume_refuses_a_run_whose_input_changed(cli: Cli, tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.mp4", moving_face(6))
    assert (
        cli("run", "-m", "source-copy", "-p", "clip-self", "--clip", clip, "--stride", 2, "--metric", "psnr").returncode
        == 0
    )
    write_video(clip, moving_face(5))
    done = cli("run", "--resume", "last")
    assert done.returncode == 2
    assert "input files have changed" in done.stderr


def test_a_run_in_progress_is_not_resumed_twice(cli: Cli, clip: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    assert cli("run", "-m", "source-copy", "-p", "clip-self", "--clip", clip, "--metric", "psnr").returncode == 0
    with FileLock(only_run(tmp_path) / ".lock"):
        done = cli("run", "--resume", "last")
    assert done.returncode == 2
    assert "another process" in done.stderr


def test_overrides_win_over_flags_and_wrong_ones_are_named(cli: Cli, clip: Path, tmp_path: Path) -> None:
    base = ("run", "-m", "source-copy", "-p", "clip-self", "--clip", clip, "--metric", "psnr")
    assert cli(*base, "--limit", 1, "frames.limit=2", "seed=7").returncode == 0
    record = RunRecord.load(only_run(tmp_path))
    assert (record.protocol.pairs, record.seed) == (2, 7)
    for wrong in ("frames.limits=2", "batch=0", "device=gpu", "frames"):
        done = cli(*base, wrong)
        assert done.returncode == 2, wrong
        assert "Traceback" not in done.stderr
        assert wrong.split("=")[0] in done.stderr


def test_two_protocols_print_one_table(cli: Cli, clip: Path, tmp_path: Path) -> None:
    done = cli(
        "run", "-m", "source-copy", "-m", "oracle", "-p", "clip-self", "-p", "portrait-cross", "--clip", clip,
        "--limit", 2, "--metric", "apd-mediapipe", "--metric", "csim-dlib", "--skip-missing",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("runs/*/run.json"))) == 2
    assert "n/a (needs target)" in done.stdout
    portrait = json.loads(next(tmp_path.glob("runs/*portrait-cross/run.json")).read_text())
    copy = {r["metric"]: r["value"] for r in portrait["results"] if r["method"] == "source-copy"}
    assert copy["csim-dlib"] == pytest.approx(1, abs=1e-6)


def test_help_and_lists_do_not_import_torch(tmp_path: Path) -> None:
    commands = (["--help"], ["run", "--help"], ["list", "methods"], ["list", "metrics"], ["show", "lpips-vgg"])
    code = (
        "import json, sys; from avatarbench.cli import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['avatarbench', *arguments]\n"
        "    try:\n        main()\n"
        "    except SystemExit as stop:\n        assert not stop.code, (arguments, stop.code)\n"
        "    assert not {'torch', 'mediapipe'} & set(sys.modules), arguments\n"
    )
    done = call([sys.executable, "-c", code, json.dumps(commands)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "face-warp" in done.stdout
