"""An avatar on film: frames without a face hold the pose before, and the camera is the one that was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avatarbench.animation.driver import Driver, Frame, Pose
from avatarbench.animation.film import Look, film, shown
from avatarbench.cli.animate import colour_of
from avatarbench.datasets.images import read_image
from avatarbench.errors import DataError, UsageError
from avatarbench.gaussians.head import GaussianHead
from avatarbench.method import Camera
from avatarbench.tracking.anny_fit import front_camera
from benchmarks import animate

SIZE = 32
HELD = Frame(None, None, "no face found")


@pytest.fixture(scope="module")
def head() -> GaussianHead:
    return animate.mini_head(60)


def _pose(head: GaussianHead, yaw: float, camera: Camera | None = None, place: float = 0.0) -> Pose:
    expression, joints, translation = head.neutral()
    joints[head.rig.joint_names.index("head"), 2] = yaw
    return Pose(expression, joints, translation + place, camera)


def _driver(*frames: Frame, size: tuple[int, int] | None = None, pictures: bool = False) -> Driver:
    def read() -> Iterator[Frame]:
        yield from frames

    return Driver(len(frames), 10.0, read, size, pictures)


def _frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(video=0)]


def test_frames_without_a_face_hold_the_pose_before_and_are_counted(head: GaussianHead, tmp_path: Path) -> None:
    left, right = Frame(_pose(head, 0.8)), Frame(_pose(head, -0.8))
    told: list[int] = []
    done = film(head, _driver(HELD, left, HELD, right, HELD), tmp_path / "a.mp4", Look(SIZE), watch=told.append)
    assert (done.frames, done.held, done.reason) == (5, 3, "no face found")
    assert told == [1, 2, 3, 4, 5]
    assert len(done.seconds) == 5
    found = _frames(tmp_path / "a.mp4")
    apart = [float(np.abs(a - b).mean()) for a, b in pairwise(found)]
    assert max(apart[1], apart[3]) < 0.2 * min(apart[0], apart[2])
    assert list(tmp_path.iterdir()) == [tmp_path / "a.mp4"]


def test_a_driver_without_any_face_is_an_error_and_leaves_no_file(head: GaussianHead, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no frame of the driver has a face \(2 frames; the first: no face found\)"):
        film(head, _driver(HELD, HELD), tmp_path / "a.mp4", Look(SIZE))
    assert not list(tmp_path.iterdir())


def test_one_frame_is_also_a_picture(head: GaussianHead, tmp_path: Path) -> None:
    driver = _driver(Frame(_pose(head, 0.0)), Frame(_pose(head, 0.8)))
    film(head, driver, tmp_path / "a.png", Look(SIZE, background=(0.0, 0.0, 1.0)), limit=1)
    image, _ = read_image(tmp_path / "a.png")
    assert image.shape == (SIZE, SIZE, 3)
    assert image[0, 0].tolist() == [0, 0, 255]
    with pytest.raises(UsageError, match="is one picture, and the driver has 2 frames"):
        film(head, driver, tmp_path / "b.png", Look(SIZE))


def test_from_the_front_the_head_stays_in_the_middle_wherever_the_driver_goes(head: GaussianHead) -> None:
    camera = front_camera((64, 48), 96.0)
    here, there = (shown(head, _pose(head, 0.3, camera, place), (SIZE, SIZE), Look(SIZE)) for place in (0.0, 0.4))
    assert np.array_equal(here, there)
    assert here.min() < 230


def test_the_drivers_camera_sees_the_head_where_the_driver_is(head: GaussianHead, tmp_path: Path) -> None:
    camera = front_camera((64, 48), 96.0)
    camera.world_to_camera[2, 3] = 1.0
    look = Look(24, "driver")
    pose = _pose(head, 0.0, camera)
    beside = pose._replace(translation=torch.tensor([0.1, 0, 0]))
    middle, right = (np.nonzero((shown(head, p, (32, 24), look) < 250).any(2))[1].mean() for p in (pose, beside))
    assert middle == pytest.approx(15.5, abs=1.5)
    assert right - middle == pytest.approx(0.1 * 96 / 2, abs=1.0)
    film(head, _driver(HELD, Frame(pose), size=(64, 48)), tmp_path / "a.mp4", look)
    assert {frame.shape for frame in _frames(tmp_path / "a.mp4")} == {(24, 32, 3)}


def test_the_drivers_picture_stands_to_the_left_at_the_same_height(head: GaussianHead, tmp_path: Path) -> None:
    red = np.zeros((40, 80, 3), np.uint8)
    red[..., 0] = 255
    frame = Frame(_pose(head, 0.0), red)
    film(head, _driver(frame, pictures=True), tmp_path / "a.png", Look(SIZE, beside=True))
    image, _ = read_image(tmp_path / "a.png")
    assert image.shape == (SIZE, 3 * SIZE, 3)
    assert (image[:, : 2 * SIZE] == [255, 0, 0]).all()


@pytest.mark.parametrize(
    ("look", "message"), [(Look(SIZE, "driver"), "no camera"), (Look(SIZE, beside=True), "no pictures")]
)
def test_what_the_driver_does_not_have_is_refused(head: GaussianHead, tmp_path: Path, look: Look, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        film(head, _driver(Frame(_pose(head, 0.0))), tmp_path / "a.mp4", look)


@pytest.mark.parametrize("text", ["grey", "#12345", "ffffff", "#gggggg"])
def test_a_colour_that_is_none_is_refused(text: str) -> None:
    assert colour_of("white") == (1.0, 1.0, 1.0)
    assert colour_of("#ff0080") == (1.0, 0.0, 128 / 255)
    with pytest.raises(UsageError, match="#rrggbb"):
        colour_of(text)
