"""``avatarbench run`` on real frames: what it writes, how it resumes, what it says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench.run.record import RunRecord, read_samples
from tests.conftest import Cli
from tests.e2e.media import moving_face, write_video

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


def test_resuming_after_a_kill_gives_the_samples_of_an_undisturbed_run(cli: Cli, clip: Path, tmp_path: Path) -> None:
    arguments = ("-m", "face-warp", "-m", "source-copy", "-p", "clip-self", "--clip", clip, "--stride", 1, *FAST)
    assert cli("run", *arguments, "--out", "whole").returncode == 0
    whole = next(tmp_path.glob("whole/*/run.json")).parent
    for stage in ("frame", "scores"):  # killed while rendering, then once more while scoring
        command = [sys.executable, "-m", "avatarbench", "run", *map(str, arguments), "--out", stage]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        journal = wait_for(tmp_path / stage, f'"kind": "{stage}"', process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        lines = journal.read_bytes()
        journal.write_bytes(lines + b'{"kind": "frame", "method": "fa')  # as a torn write leaves it
        done = cli("run", "--resume", journal.parent)
        assert done.returncode == 0, done.stderr
        assert journal.read_bytes().startswith(lines)
        for name in ("samples.parquet", "contact.png", "inputs.json", "manifest.json"):
            assert (journal.parent / name).read_bytes() == (whole / name).read_bytes(), name
        results = [RunRecord.load(run).model_dump()["results"] for run in (journal.parent, whole)]
        assert results[0] == results[1]


def wait_for(folder: Path, text: str, process: subprocess.Popen, seconds: float = 120) -> Path:
    """The journal, once it holds ``text``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        for journal in folder.glob("*/journal.jsonl"):
            if text in journal.read_text():
                return journal
        time.sleep(0.01)
    raise AssertionError(f"the run ended ({process.poll()}) or took {seconds} s before writing {text}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_says_how_to_go_on_and_loses_nothing(number: int, cli: Cli, clip: Path, tmp_path: Path) -> None:
    arguments = ["run", "-m", "face-warp", "-p", "clip-self", "--clip", str(clip), "--stride", "1", *FAST]
    with subprocess.Popen(
        [sys.executable, "-m", "avatarbench", *arguments], cwd=tmp_path, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        wait_for(tmp_path / "runs", '"kind": "frame"', process)
        os.kill(process.pid, number)
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
    for arguments in (["--help"], ["run", "--help"], ["list", "methods"], ["list", "metrics"], ["show", "lpips-vgg"]):
        code = (
            "import sys; sys.argv = ['avatarbench', *sys.argv[1:]]\n"
            "import atexit; atexit.register(lambda: print('LOADED', *({'torch', 'mediapipe'} & set(sys.modules))))\n"
            "from avatarbench.cli import main; main()"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1].split() == ["LOADED"], arguments
