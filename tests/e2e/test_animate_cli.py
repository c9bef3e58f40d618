"""``avatarbench animate`` as a user runs it: an avatar that ships under a face, a table, and what is neither."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import av
import numpy as np

from avatarbench.datasets.images import read_image
from avatarbench.datasets.openheads import embedded_split
from tests.conftest import Cli
from tests.e2e.media import FACE, NO_FACE, write_image

AVATAR = embedded_split() / "501" / "fit" / "head.avatar"


def test_a_face_moves_an_avatar_and_frames_without_one_are_counted(cli: Cli, tmp_path: Path) -> None:
    for name, image in (("f1", NO_FACE), ("f2", FACE), ("f3", NO_FACE)):
        write_image(tmp_path / "frames" / f"{name}.png", image)
    done = cli("animate", AVATAR, "--driver", "frames", "--out", "film/a.mp4", "--size", 48, "--side-by-side")
    assert done.returncode == 3, done.stderr
    assert "film/a.mp4: 3 frames, posed and rendered at" in done.stdout
    assert "2 of 3 frames show no face (no face found): they hold the pose before." in " ".join(done.stderr.split())
    with av.open(str(tmp_path / "film" / "a.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 25
    assert {frame.shape for frame in frames} == {(48, 96, 3)}
    right = [frame[:, 48:] for frame in frames]
    assert np.abs(right[2] - right[1]).mean() < 0.5 * np.abs(right[1] - right[0]).mean()


def test_one_pose_of_coefficients_is_a_picture(cli: Cli, tmp_path: Path) -> None:
    np.savez(tmp_path / "pose.npz", arkit=np.full((1, 52), 1.5))
    done = cli("animate", AVATAR, "--driver", "pose.npz", "--out", "pose.png", "--size", 64, "--background", "#00ff00")
    assert done.returncode == 0, done.stderr
    assert "51 coefficients lay outside [0, 1] and were moved to its border." in done.stderr
    image, _ = read_image(tmp_path / "pose.png")
    assert image.shape == (64, 64, 3)
    assert image[0, 0].tolist() == [0, 255, 0]
    assert (image != [0, 255, 0]).any(2).mean() > 0.1


def test_what_cannot_be_animated_is_said_before_any_frame(cli: Cli, tmp_path: Path) -> None:
    write_image(tmp_path / "blank.png", NO_FACE)
    with zipfile.ZipFile(AVATAR) as old, zipfile.ZipFile(tmp_path / "newer.avatar", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "avatar.json":
                content = json.dumps(json.loads(content) | {"format": 2}).encode()
            new.writestr(name, content)
    for arguments, message, code in (
        (("newer.avatar", "--driver", "blank.png", "--out", "a.mp4"), "format 2, and this version reads format 1", 1),
        ((AVATAR, "--driver", "blank.png", "--out", "a.mp4"), "no frame of the driver has a face (1 frames", 1),
        ((AVATAR, "--driver", "nowhere.mp4", "--out", "a.mp4"), "nowhere.mp4 does not exist", 1),
        ((AVATAR, "--driver", "blank.png", "--out", "a.gif"), "a video is written as .mp4", 2),
        ((AVATAR, "--driver", "blank.png", "--out", "blank.png/a.mp4"), "nothing can be written there", 2),
        ((AVATAR, "--driver", "blank.png", "--out", "a.mp4", "--fps", "0"), "--fps 0.0", 2),
        ((AVATAR, "--driver", "blank.png", "--out", "./blank.png"), "is, or lies in, --driver blank.png", 2),
    ):
        done = cli("animate", *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "a.mp4").exists()
