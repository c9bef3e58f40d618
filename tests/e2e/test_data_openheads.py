"""``avatarbench data openheads`` as a user runs it: rendered, killed, stopped, continued, refused."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from nersemble_data.data.nersemble_data import NeRSembleDataManager, NeRSembleParticipantDataManager

from avatarbench.datasets.video import Video
from avatarbench.openheads.cameras import FRONTAL, SERIALS
from tests.conftest import Cli, Started
from tests.started import Call

SMALL = ("--identities", "1", "--seed", "3", "--size", "32", "--samples", "4", "--frames", "3", "--cameras", "2")
COMMAND = ("data", "openheads", "--out", "heads", *SMALL, "--sequences", "FREE", "--workers", "1")


def until(met: Callable[[], bool], running: Call | None = None, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "waited in vain"
        assert running is None or running.poll() is None, running.communicate()
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_that_was_killed_and_stopped_is_finished_by_the_same_command(
    tmp_path: Path, started: Started, cli: Cli
) -> None:
    killed = started(*COMMAND)
    process = psutil.Process(killed.pid)
    until(lambda: len(process.children()) >= 1, killed)
    workers = process.children()
    killed.kill()
    until(lambda: not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers))

    stopped = started(*COMMAND)
    cache = tmp_path / "heads" / "001" / "sequences" / "FREE" / ".frames"
    until(lambda: any(cache.rglob("*.png")), stopped)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=120)
    assert stopped.returncode == 130
    assert "what is finished is kept, and the same command goes on from here" in said
    assert "Traceback" not in said

    done = cli(*COMMAND)
    assert done.returncode == 0, done.stderr
    assert "6 frames (1 x 1 x 2 x 3: people, sequences, cameras, frames of each), " in done.stdout
    assert "6 of them rendered" not in done.stdout
    assert not cache.exists()
    _check(tmp_path / "heads")

    again = cli(*COMMAND)
    assert "0 of them rendered now" in again.stdout
    other = cli(*COMMAND, "--seed", "4")
    assert other.returncode == 2
    assert "seed is 3 there and 4 here" in other.stderr


def _check(root: Path) -> None:
    """The files open in NeRSemble's own package, and hold heads on pure white."""
    assert NeRSembleDataManager(str(root)).list_participants() == [1]
    theirs = NeRSembleParticipantDataManager(str(root), 1)
    assert theirs.list_sequences() == ["FREE"]
    assert set(theirs.list_cameras("FREE")) == {FRONTAL, SERIALS[0]}
    assert theirs.get_n_timesteps("FREE") == 3
    assert set(theirs.load_camera_calibration().world_2_cam) == set(SERIALS)
    image = theirs.load_image("FREE", FRONTAL, 1, as_uint8=True)
    folder = root / "001" / "sequences" / "FREE"
    assert np.array_equal(image, Video(folder / "images" / f"cam_{FRONTAL}.mp4").read(1))
    mask = Video(folder / "masks" / f"cam_{FRONTAL}.mp4").read(1)[..., 0]
    assert (image[mask == 0] == 255).all()
    assert 0.1 < (mask > 127).mean() < 0.7
    assert mask[12:20, 12:20].min() > 200  # a head fills the middle
    assert cv2.VideoCapture(str(folder / "images" / f"cam_{SERIALS[0]}.mp4")).get(cv2.CAP_PROP_FPS) == 25
    with np.load(folder / "tracking" / f"cam_{FRONTAL}.npz", allow_pickle=False) as tracking:
        assert tracking["found"].shape == (3,)
    with np.load(folder / "truth.npz", allow_pickle=False) as truth:
        assert truth["expression"].shape == (3, 52)
    assert json.loads((root / "001" / "identity.json").read_text())["seed"] == 3


def test_mistakes_are_named_before_anything_is_made(tmp_path: Path, cli: Cli) -> None:
    for wrong, message in (
        (("--sequences", "FREE,NOSE"), "--sequences: no 'NOSE' in OpenHeads; it has EXP-1-head"),
        (("--cameras", "17"), "17 cameras were asked for; the rig has 16"),
        (("--size", "3"), "--size is 3: give 16 or more"),
    ):
        done = cli(*COMMAND, *wrong)
        assert done.returncode == 2
        assert message in done.stderr
    assert not (tmp_path / "heads").exists()
