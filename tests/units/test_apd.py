"""APD on head matrices that are turned by known angles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarbench.errors import Unscorable
from avatarbench.metrics import apd
from avatarbench.metrics.features import Frame, Missing
from avatarbench.metrics.rotations import euler_degrees, geodesic_degrees, nearest_rotation, wrap_degrees


def head(rotation: Rotation, scale: float = 1.0) -> Frame:
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation.as_matrix()
    matrix[:3, 3] = (1, 2, -60)
    made = Frame(np.zeros((8, 8, 3), np.uint8))
    made.put("face", {"head": matrix, "faces": np.array([1], np.int32)})
    made.put("6drepnet360", {"rotation": matrix[:3, :3]})
    return made


def from_euler(pitch: float, yaw: float, roll: float) -> Rotation:
    return Rotation.from_euler("xyz", [pitch, yaw, roll], degrees=True)


START = from_euler(-12, 25, 4)
GEODESIC = (apd.MediapipeGeodesic(), apd.NetworkGeodesic())
EULER = (apd.MediapipeEuler(), apd.NetworkEuler())


@pytest.mark.parametrize("metric", GEODESIC)
@pytest.mark.parametrize("angle", [0.0, 1e-6, 5.0, 90.0, 179.999999, 180.0])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, -2, 0.5)])
def test_a_known_turn_is_its_own_geodesic_distance(
    metric: apd.MediapipeGeodesic, angle: float, axis: tuple[float, float, float]
) -> None:
    turn = Rotation.from_rotvec(np.radians(angle) * np.array(axis) / np.linalg.norm(axis))
    for turned in (turn * START, START * turn):
        assert metric(head(turned), head(START)) == pytest.approx(angle, abs=1e-9)
        assert metric(head(START), head(turned)) == pytest.approx(angle, abs=1e-9)


@pytest.mark.parametrize("metric", EULER)
def test_euler_distance_is_the_mean_of_the_three_angles(metric: apd.MediapipeEuler) -> None:
    a, b = from_euler(1, 20, -3), from_euler(4, 14, 6)
    assert metric(head(a), head(b)) == pytest.approx((3 + 6 + 9) / 3, abs=1e-9)


def test_the_squared_variant_is_the_mean_of_the_squares() -> None:
    a, b = from_euler(1, 20, -3), from_euler(4, 14, 6)
    assert apd.NetworkSquared()(head(a), head(b)) == pytest.approx((9 + 36 + 81) / 3, abs=1e-9)


@pytest.mark.parametrize("metric", EULER)
def test_differences_wrap_around(metric: apd.MediapipeEuler) -> None:
    assert metric(head(from_euler(0, 0, 179)), head(from_euler(0, 0, -179))) == pytest.approx(2 / 3, abs=1e-9)


@pytest.mark.parametrize("metric", [*GEODESIC, *EULER, apd.NetworkSquared()])
def test_scale_in_the_matrix_does_not_count(metric: apd.MediapipeEuler) -> None:
    turned = from_euler(3, 9, -1)
    assert metric(head(turned, 1.7), head(START, 0.3)) == pytest.approx(metric(head(turned), head(START)), abs=1e-9)


@pytest.mark.parametrize("values", [np.full((4, 4), np.nan), np.zeros((4, 4)), np.ones((4, 4))])
def test_a_matrix_that_is_no_rotation_is_unscorable(values: NDArray[np.float64]) -> None:
    broken = head(START)
    broken.put("face", {"head": values})
    with pytest.raises(Unscorable, match="the head's rotation is"):
        apd.MediapipeEuler()(broken, head(START))


@pytest.mark.parametrize(("metric", "feature"), [(apd.MediapipeEuler(), "face"), (apd.NetworkEuler(), "6drepnet360")])
def test_the_reason_names_the_image_without_a_face(metric: apd.MediapipeEuler, feature: str) -> None:
    faceless = head(START)
    faceless.put(feature, Missing("no face found"))
    with pytest.raises(Unscorable, match=r"^no face found in the prediction$"):
        metric(faceless, head(START))
    with pytest.raises(Unscorable, match=r"^no face found in the driver$"):
        metric(head(START), faceless)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3))
def test_euler_angles_follow_scipys_extrinsic_xyz(quaternion: list[float]) -> None:
    rotation = Rotation.from_quat(quaternion)
    angles = euler_degrees(rotation.as_matrix())
    assert np.allclose(Rotation.from_euler("xyz", angles, degrees=True).as_matrix(), rotation.as_matrix(), atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(0, 0.2))
def test_the_nearest_rotation_is_proper_and_as_near_as_scipys(seed: int, noise: float) -> None:
    draw = np.random.default_rng(seed)
    start = Rotation.random(rng=draw).as_matrix()
    noisy = start + noise * draw.standard_normal((3, 3))
    found = nearest_rotation(noisy)
    assert np.allclose(found @ found.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(found) == pytest.approx(1, abs=1e-12)
    assert np.linalg.norm(found - noisy) <= np.linalg.norm(start - noisy) + 1e-12


@given(st.integers(0, 2**32 - 1))
def test_the_geodesic_distance_agrees_with_scipys_magnitude(seed: int) -> None:
    a, b = Rotation.random(2, rng=np.random.default_rng(seed))
    expected = np.degrees((a.inv() * b).magnitude())
    assert geodesic_degrees(a.as_matrix(), b.as_matrix()) == pytest.approx(expected, abs=1e-9)


def test_gimbal_lock_keeps_the_rotation_and_sets_roll_to_zero() -> None:
    rotation = Rotation.from_euler("xyz", [30, 90, 0], degrees=True).as_matrix()
    assert euler_degrees(rotation) == pytest.approx([30, 90, 0], abs=1e-6)


def test_wrapping_covers_the_circle() -> None:
    assert wrap_degrees(np.array([190.0, -190.0, 360.0, 180.0, 45.0])).tolist() == [-170.0, 170.0, 0.0, -180.0, 45.0]
