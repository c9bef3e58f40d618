"""The protractor gives back the degrees that a judge was made to say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatarbench.calibration.changes import BASES, state
from avatarbench.calibration.plan import Shot, plan
from avatarbench.calibration.protractor import JUDGES, line, read_turns, true_angles
from avatarbench.metrics.features import Frame, Missing

SCENES = plan(4)


class Pictures:
    """Frames whose pixels name the shot."""

    def __init__(self) -> None:
        self.shots: dict[bytes, Shot] = {}

    def read(self, shot: Shot) -> np.ndarray:
        image = np.zeros((1, 2, 3), np.uint8)
        image[0, :, 0] = len(self.shots) // 256, len(self.shots) % 256
        self.shots[image.tobytes()] = shot
        return image


class Judge:
    """Says a share of every angle plus an error; sees no face in the first frame of an odd person."""

    def __init__(self, pictures: Pictures, share: float, noise: float, flip: int = 1, blind: bool = False) -> None:
        self.pictures, self.share, self.noise, self.flip, self.blind = pictures, share, noise, flip, blind
        self.rng = np.random.default_rng(0)

    def extract(self, frames: list[Frame], wanted: dict[str, bool]) -> None:
        for number, frame in enumerate(frames):
            shot = self.pictures.shots[frame.image.tobytes()]
            pitch, yaw, roll = self.share * true_angles(shot.state) + self.rng.normal(0, self.noise, 3)
            head = np.eye(4)
            angles = np.array([roll, yaw, pitch]) * self.flip
            head[:3, :3] = Rotation.from_euler("ZYX", angles, degrees=True).as_matrix()
            lost = self.blind and number == 0 and shot.person % 2 == 1
            for name in wanted:
                frame.put(name, Missing("no face found") if lost else {JUDGES[name]: head})


def turns(
    share: float, noise: float = 0.0, flip: int = 1, blind: bool = False, judge: str = "face"
) -> dict[str, float]:
    pictures = Pictures()
    return read_turns(judge, SCENES, pictures, Judge(pictures, share, noise, flip, blind))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "index"), [("pitch", 0), ("yaw", 1), ("roll", 2)])
def test_a_turn_of_a_frontal_head_is_that_angle_alone(kind: str, index: int) -> None:
    found = true_angles(state(BASES[0], kind, 10.0))
    expected = np.zeros(3)
    expected[index] = -10.0 if kind == "roll" else 10.0  # roll of a sequence is towards the left shoulder
    assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("judge", "flip"), [("face", 1), ("6drepnet360", -1)])
def test_a_judge_that_says_a_share_in_its_own_signs_is_read_as_that_share(judge: str, flip: int) -> None:
    assert turns(0.85, flip=flip, judge=judge) == pytest.approx({"yaw": 0.85, "pitch": 0.85, "roll": 0.85}, rel=1e-3)


@pytest.mark.parametrize(("judge", "flip"), [("face", -1), ("6drepnet360", 1)])
def test_a_judge_that_takes_left_for_right_is_read_as_negative(judge: str, flip: int) -> None:
    assert turns(0.85, flip=flip, judge=judge) == pytest.approx({"yaw": -0.85, "pitch": -0.85, "roll": -0.85}, rel=1e-3)


def test_noise_does_not_tilt_the_reading() -> None:
    for share in turns(0.85, noise=0.5).values():
        assert share == pytest.approx(0.85, abs=0.12)


def test_scenes_whose_unchanged_frame_has_no_face_are_left_out() -> None:
    assert turns(0.85, blind=True) == pytest.approx({"yaw": 0.85, "pitch": 0.85, "roll": 0.85}, rel=1e-3)


def test_an_error_of_the_unchanged_frame_does_not_tilt_the_line() -> None:
    x = np.array([-1.0, -2.0, -5.0, -10.0])
    assert line(x, 0.9 * x + 2.0) == pytest.approx(0.9)
    assert line(x, np.array([np.nan, 3.0, np.nan, -1.0])) == pytest.approx(0.5)
    assert math.isnan(line(x, np.array([np.nan, 3.0, np.nan, np.nan])))
