"""The cameras of OpenHeads: calibrated, framed, and drawn the same everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from nersemble_data import constants

from avatarbench.errors import UsageError
from avatarbench.heads.anny import load_anny
from avatarbench.method import Camera
from avatarbench.openheads import split
from avatarbench.openheads.cameras import (
    DISTANCE,
    FRONTAL,
    SERIALS,
    TARGET,
    TARGET_AZIMUTH,
    directions,
    rig_cameras,
    spread,
    target_cameras,
)


def project(camera: Camera, points: np.ndarray) -> np.ndarray:
    """(N, 2) pixels and (N, 1) depth of (N, 3) world points."""
    seen = points @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    pixels = seen @ camera.K.T
    return np.concatenate([pixels[:, :2] / pixels[:, 2:], seen[:, 2:]], axis=1)


def test_serials_are_nersembles() -> None:
    assert list(SERIALS) == constants.SERIALS


def test_the_frontal_camera_looks_along_y_with_the_subjects_left_on_the_right() -> None:
    camera = rig_cameras(256)[FRONTAL]
    assert directions()[FRONTAL] == (0, 0)
    middle, left, above = project(camera, np.array(TARGET) + np.array([[0, 0, 0], [0.05, 0, 0], [0, 0, 0.05]]))
    assert middle == pytest.approx([128, 128, DISTANCE])
    assert left[0] > 150
    assert left[1] == pytest.approx(128)
    assert above[1] < 106
    assert camera.world_to_camera[2] == pytest.approx([0, 1, 0, DISTANCE - TARGET[1]])


@pytest.mark.parametrize("serial", SERIALS)
def test_every_camera_is_a_rotation_at_its_distance_and_azimuth(serial: str) -> None:
    matrix = rig_cameras(256)[serial].world_to_camera
    rotation = matrix[:3, :3]
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-8)
    assert np.linalg.det(rotation) == pytest.approx(1)
    away = -rotation.T @ matrix[:3, 3] - TARGET
    assert np.linalg.norm(away) == pytest.approx(DISTANCE)
    azimuth, elevation = directions()[serial]
    assert np.degrees(np.arctan2(away[0], -away[1])) == pytest.approx(azimuth, abs=1e-4)
    assert np.degrees(np.arcsin(away[2])) == pytest.approx(elevation, abs=1e-4)
    assert abs(azimuth) <= 45


@pytest.mark.parametrize("serial", SERIALS)
def test_a_head_at_rest_is_wholly_in_the_picture_with_room_to_turn(serial: str) -> None:
    head = load_anny().template.numpy()
    pixels = project(rig_cameras(256)[serial], head)[:, :2]
    assert pixels.min() > 25
    assert pixels.max() < 231
    assert np.ptp(pixels[:, 1]) > 140


def test_cameras_of_another_size_see_the_same() -> None:
    small, large = rig_cameras(64)[SERIALS[0]], rig_cameras(512, 768)[SERIALS[0]]
    point = np.array([[0.04, -0.1, 0.08]])
    a, b = project(small, point)[0, :2] - 32, project(large, point)[0, :2] - [256, 384]
    assert a * 8 == pytest.approx(b, abs=1e-4)
    assert (large.width, large.height) == (512, 768)


def test_target_cameras_are_the_frontal_one_and_one_of_each_side() -> None:
    drawn = {target_cameras(seed, index) for seed in range(4) for index in range(6)}
    assert len(drawn) > 10
    for serials in drawn:
        azimuths = [directions()[serial][0] for serial in serials]
        assert serials[0] == FRONTAL
        assert azimuths[1] * azimuths[2] < 0
        assert max(map(abs, azimuths)) <= TARGET_AZIMUTH


def test_the_shipped_splits_target_cameras_are_pinned() -> None:
    assert target_cameras(split.SEED, split.DRIVER) == ("222200037", "222200049", "222200048")
    assert target_cameras(0, 1, count=1) == (FRONTAL,)
    with pytest.raises(UsageError, match="40 target cameras were asked for"):
        target_cameras(0, 1, count=40)


def test_a_few_cameras_are_spread_over_the_rig() -> None:
    assert spread(1) == (FRONTAL,)
    assert set(spread(3)) == {FRONTAL, SERIALS[0], SERIALS[-1]}
    assert set(spread(16)) == set(SERIALS)
    with pytest.raises(UsageError, match="17 cameras were asked for; the rig has 16"):
        spread(17)
