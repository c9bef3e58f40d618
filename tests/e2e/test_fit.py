"""``avatarbench fit`` as a user runs it: finished, interrupted, continued, refused."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from avatarbench.cli import app
from avatarbench.datasets.openheads import embedded_split
from avatarbench.errors import AvatarbenchError
from avatarbench.fitting import run
from avatarbench.fitting.config import load_preset
from avatarbench.fitting.run import fit_person
from avatarbench.gaussians.files import read_npz, read_ply
from avatarbench.gaussians.head import load_head
from tests.conftest import ROOT, Cli, Started
from tests.started import Call

Here = Callable[..., tuple[int, str]]
SMALL = ("size=32", "faces=100", "points=120", "frames=3", "cameras=2", "checkpoint_every=5")
SMALL += ("density.enabled=false", "densify.start=4", "densify.every=4", "densify.stop=20", "device=cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two takes of one person of the test split."""
    root, split = tmp_path_factory.mktemp("data"), embedded_split()
    takes = [p for p in sorted((split / "501" / "sequences").iterdir()) if "-AS-" not in p.name][:2]
    for take in takes:
        shutil.copytree(take, root / "501" / "sequences" / take.name)
    shutil.copytree(split / "501" / "calibration", root / "501" / "calibration")
    shutil.copy(split / "501" / "identity.json", root / "501" / "identity.json")
    return root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """The command line in this process, where no new one has to import torch; errors as the real one prints them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments: str | Path) -> tuple[int, str]:
        done: Result = CliRunner().invoke(app, [str(a) for a in arguments])
        if done.exception is None or isinstance(done.exception, SystemExit):
            return done.exit_code, done.output
        assert isinstance(done.exception, AvatarbenchError), done.exception
        return done.exception.exit_code, str(done.exception)

    return run


def takes(data: Path) -> list[str]:
    return sorted(p.name for p in (data / "501" / "sequences").iterdir())


def test_a_fit_leaves_a_head_its_cloud_its_scores_and_pictures(here: Here, data: Path, tmp_path: Path) -> None:
    held = takes(data)[1]
    command = ("fit", data, "--subject", "501", "--out", "out", "--hold-sequence", held, *SMALL, "steps=12")
    code, said = here(*command)
    assert code == 0, said
    out = tmp_path / "out"
    names = ["checkpoint.pt", "cloud.npz", "cloud.ply", "fit.json", "head.avatar", "local.npz"]
    assert sorted(p.name for p in out.iterdir()) == [*names, "turntable.mp4", "views.jpg"]
    cloud, head, record = read_npz(out / "cloud.npz"), load_head(out / "head.avatar"), json.loads(_text(out))
    assert len(cloud) == len(read_ply(out / "cloud.ply")) == len(head.cloud) == record["points"]
    assert cloud.bindings is not None
    assert int(cloud.bindings.max()) < len(head.faces) == record["faces"]
    assert record["steps"] == 12
    assert sum(n * count for n, count in enumerate(record["faces_with_n_points"])) == record["points"]
    scores = record["held_out"]["means"]["sequence"]
    assert 5 < scores["psnr"] < 40
    assert 0 < scores["lpips-alex"] < 1.5
    assert {v["sequence"] for v in record["held_out"]["views"]} == {held}
    assert "held out by sequence: PSNR" in said
    with av.open(str(out / "turntable.mp4")) as video:
        assert video.streams.video[0].frames == 72 + 4 * 16

    before = {p: p.read_bytes() for p in out.iterdir()}
    code, said = here(*command)
    assert code == 0, said
    assert "is finished, and nothing was written" in said
    code, said = here(*command, "points=90")
    assert code == 1
    assert "points was 120 and is 90" in said
    for steps in (6, 24):
        code, said = here(*command[:-1], f"steps={steps}")
        assert code == 1
        assert f"steps was 12 and is {steps}. Choose another --out" in said
    code, said = here("fit", data, "--subject", "501", "--out", "out", *SMALL, "steps=12")
    assert code == 1
    assert f"held-out sequences: {held} there, none here" in said
    assert {p: p.read_bytes() for p in out.iterdir()} == before


def test_a_fit_that_was_stopped_ends_with_the_same_bytes(
    cli: Cli, started: Started, data: Path, tmp_path: Path
) -> None:
    settings = (*SMALL, "steps=80", "checkpoint_every=10")
    command = ("fit", str(data), "--subject", "501", "--no-video", *settings, "--out", "cut")
    running = started(*command)
    checkpoint, until = tmp_path / "cut" / "checkpoint.pt", time.monotonic() + 240
    began = _wait(running, lambda: _stamp(checkpoint), until)
    _wait(running, lambda: _stamp(checkpoint) - began, until)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130, said
    assert "stopped; the same command goes on from the last checkpoint" in said
    assert "Traceback" not in said
    assert not (tmp_path / "cut" / "fit.json").exists()

    done = cli(*command)
    assert done.returncode == 0, done.stderr
    whole = fit_person(data, "501", tmp_path / "whole", load_preset("mini", settings), video=False)
    record = json.loads(_text(tmp_path / "cut"))
    assert record["seconds"] > 0.1 * whole.seconds  # the first sitting's are in it
    for name in ("cloud.npz", "local.npz"):
        cut, other = (np.load(tmp_path / out / name, allow_pickle=False) for out in ("cut", "whole"))
        assert set(cut.files) == set(other.files)
        assert all(cut[key].tobytes() == other[key].tobytes() for key in cut.files), name
    for name in ("cloud.ply", "head.avatar", "views.jpg"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_mistakes_are_named_and_nothing_is_left_behind(here: Here, data: Path, tmp_path: Path) -> None:
    first, second = takes(data)
    for arguments, code, message in (
        (("--preset", "medium"), 2, "there is no preset 'medium'. Known: mini, mini-cloud, mini-cloud-free, paper"),
        (("stepps=3",), 2, "there is no 'stepps', did you mean 'steps'?"),
        (("density.leest=3",), 2, "there is no 'density.leest', did you mean 'least'?"),
        (("steps",), 2, "'steps' is no KEY=VALUE"),
        (("steps=many",), 2, "steps: "),
        (("--hold-camera", "7"), 2, "there is no camera '7' to hold out; there are "),
        (("--hold-sequence", "NOSE"), 2, f"there is no sequence 'NOSE' to hold out; there are {first}, {second}"),
        (("--hold-sequence", first, "--hold-sequence", second), 1, "all views are held out"),
        (("device=gpu",), 2, "device=gpu is no device"),
        (("--tracking", "nowhere"), 1, "transforms.json does not exist"),
    ):
        found, said = here("fit", data, "--subject", "501", "--out", "out", *arguments)
        assert found == code, (arguments, said)
        assert message in said, (arguments, said)
    assert not (tmp_path / "out").exists()


def test_a_damaged_picture_and_an_out_that_cannot_be_written_are_named(here: Here, data: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    code, said = here("fit", data, "--subject", "501", "--out", "taken", *SMALL, "steps=5")
    assert code == 1
    assert "cannot be written" in said
    assert "choose another --out" in said
    shutil.copytree(data, tmp_path / "data")
    for picture in (tmp_path / "data").rglob("images/*/*.webp"):
        whole = picture.read_bytes()
        picture.write_bytes(whole[: len(whole) // 2])
    code, said = here("fit", "data", "--subject", "501", "--out", "out", *SMALL, "steps=5")
    assert code == 1
    assert ".webp" in said
    assert "copy it again" in said


def test_a_full_disk_is_named_and_the_checkpoint_before_it_stays(
    here: Here, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("fit", data, "--subject", "501", "--out", "out", "--no-video", *SMALL, "steps=6")
    full = OSError(errno.ENOSPC, "No space left on device", "out/cloud.ply")
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_ply", Mock(side_effect=full))
        code, said = here(*command)
    assert code == 1
    assert "out/cloud.ply cannot be written (No space left on device): free some space" in said
    assert not (tmp_path / "out" / "fit.json").exists()
    code, said = here(*command)
    assert code == 0, said
    assert (tmp_path / "out" / "fit.json").exists()


def test_help_shows_how_and_imports_nothing_heavy(cli: Cli) -> None:
    shown = cli("fit", "--help")
    assert "avatarbench fit views --subject 501" in shown.stdout
    code = "import sys, avatarbench.cli; print([m for m in ('torch', 'anny', 'mitsuba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _text(out: Path) -> str:
    return (out / "fit.json").read_text()


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _wait(running: Call, met: Callable[[], int], until: float) -> int:
    while not (found := met()):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)
    return found
