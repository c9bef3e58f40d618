"""CVTHead and Real3D-Portrait against their stand-ins: one pair a picture, and one video a driver."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from avatarbench.errors import AvatarbenchError, Unscorable
from avatarbench.method import Motion
from tests.standins.discs import faceless, mark, motion, nose, portrait
from tests.standins.heads import files, opened, trapped

COLOURS = [(60, 120, 220), (230, 40, 90)]


def test_cvthead_renders_by_its_own_function_with_all_loaded_once(tmp_path: Path) -> None:
    repo = trapped("cvthead", tmp_path)
    before = files(repo)
    with opened("cvthead", repo, repo / "weights", tmp_path / "work") as method:
        avatar = method.build(portrait(size=256))
        assert not hasattr(avatar, "announce")
        for index, colour in enumerate(COLOURS):
            image = np.asarray(avatar.render(motion(index, colour, size=256)))
            assert (image.shape, image.dtype) == ((256, 256, 3), np.uint8)
            assert tuple(image[0, 0]) == (255, 255, 255)
            np.testing.assert_allclose(image[120, 120], [colour[0], 150, 63], atol=1)  # 63: as its main() leaves it
        with pytest.raises(Unscorable, match="found no face"):
            avatar.render(faceless(2, size=256))
        (repo / "TRAP").write_text("nothing")
        with pytest.raises(AvatarbenchError, match=r"too few frames: 0 of out\.png"):
            avatar.render(motion(0, COLOURS[0], size=256))  # rendered before: that picture is gone
        with pytest.raises(Unscorable, match="found no face"):
            method.build(portrait((90, 90, 90), size=256))
        (repo / "TRAP").unlink()
    assert files(repo) == before


def test_real3d_renders_a_video_a_driver_and_its_frames_are_kept_before_they_are_coded(tmp_path: Path) -> None:
    repo = trapped("real3d_portrait", tmp_path)
    (repo / "demo.mp4").write_bytes(b"of an earlier run by hand")
    before = files(repo)
    motions = [motion(0, COLOURS[0]), faceless(1), motion(2, COLOURS[1]), motion(0, COLOURS[1], sequence="sing")]
    with opened("real3dportrait", repo, repo / "weights", tmp_path / "work") as method:
        avatar = method.build(portrait())
        avatar.announce(motions)
        for driver, colour in ((motions[0], COLOURS[0]), (motions[2], COLOURS[1]), (motions[3], COLOURS[1])):
            shows(np.asarray(avatar.render(driver)), driver, colour)
        with pytest.raises(Unscorable, match="no face found in the driver"):
            avatar.render(motions[1])
    assert files(repo) == before


def shows(image: np.ndarray, driver: Motion, colour: tuple[int, int, int]) -> None:
    """The driver passed through H.264 on its way in, the picture through nothing on its way out."""
    assert (image.shape, image.dtype) == ((512, 512, 3), np.uint8)
    np.testing.assert_allclose(image[40, 40], [colour[0], 0, 40], atol=10)  # green: the pose is the driver's own
    assert (image[:20] == image[40, 40]).all()  # nobody blinks
    np.testing.assert_allclose(mark(image), nose(driver) * 4, atol=4)


def test_real3d_is_judged_by_its_frames_and_one_job_waits_for_another(tmp_path: Path) -> None:
    repo = trapped("real3d_portrait", tmp_path)
    first, second = motion(0, COLOURS[0]), motion(1, COLOURS[1])
    with (
        tempfile.TemporaryDirectory() as short,  # so short that the worker's TMPDIR is in it, which nobody else shares
        opened("real3dportrait", repo, repo / "weights", Path(short)) as method,
    ):
        avatar = method.build(portrait())
        name = hashlib.sha256(str(repo.resolve()).encode()).hexdigest()[:12]
        shown: list[np.ndarray] = []
        with open(f"/tmp/avatarbench-real3d-{os.getuid()}-{name}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            work = Thread(target=lambda: shown.append(np.asarray(avatar.render(first))))
            work.start()
            work.join(2.5)
            assert work.is_alive()
        work.join(60)
        shows(shown[0], first, COLOURS[0])
        (repo / "TRAP").write_text("few")
        avatar = method.build(portrait())
        avatar.announce([first, second])
        shows(np.asarray(avatar.render(first)), first, COLOURS[0])
        with pytest.raises(AvatarbenchError, match=r"(?s)too few frames: 0 of 000001\.png.*CUDA out of memory"):
            avatar.render(second)
        (repo / "TRAP").write_text("nothing")
        avatar = method.build(portrait())
        avatar.announce([first])
        with pytest.raises(AvatarbenchError, match=r"(?s)too few frames: 0 of 000000\.png.*exit code 0"):
            avatar.render(first)
