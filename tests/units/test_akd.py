"""AKD on landmarks whose distances are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from avatarbench.errors import Unscorable
from avatarbench.metrics.akd import Akd, AkdInterOcular
from avatarbench.metrics.features import Frame, Missing


def frame(landmarks: NDArray[np.float32] | None, width: int = 256, height: int = 256, faces: int = 1) -> Frame:
    made = Frame(np.zeros((height, width, 3), np.uint8))
    made.put("face", Missing("no face found") if landmarks is None else face(landmarks, faces))
    return made


def face(landmarks: NDArray[np.float32], faces: int) -> dict[str, NDArray[np.generic]]:
    return {"landmarks": landmarks, "faces": np.array([faces], np.int32)}


@pytest.fixture
def points() -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(40, 200, (478, 3)).astype(np.float32)


@pytest.mark.parametrize(("width", "height"), [(128, 128), (256, 256), (512, 512), (512, 384), (384, 512)])
def test_a_shift_of_three_pixels_is_three_pixels_scaled_to_512(
    points: NDArray[np.float32], width: int, height: int
) -> None:
    points = np.rint(points).astype(np.float32)
    moved = points + np.array([3, 0, 0], np.float32)
    expected = 3 * 512 / max(width, height)
    assert Akd()(frame(moved, width, height), frame(points, width, height)) == expected
    assert Akd()(frame(points, width, height), frame(moved, width, height)) == expected


def test_depth_does_not_count(points: NDArray[np.float32]) -> None:
    assert Akd()(frame(points + np.array([0, 0, 9], np.float32)), frame(points)) == 0


def test_frames_of_two_sizes_and_one_aspect_ratio_compare_in_scaled_pixels(points: NDArray[np.float32]) -> None:
    assert Akd()(frame(points), frame(points * 2, 512, 512)) == 0


def test_different_aspect_ratios_are_unscorable_with_both_sizes(points: NDArray[np.float32]) -> None:
    with pytest.raises(Unscorable, match="256 x 256 and the driver 512 x 256"):
        Akd()(frame(points), frame(points, 512, 256))


def test_the_inter_ocular_variant_divides_by_the_drivers_outer_eye_corners(points: NDArray[np.float32]) -> None:
    points[33], points[263] = (60, 80, 0), (100, 110, 0)  # 50 px apart
    moved = points + np.array([3, 4, 0], np.float32)
    moved[33] += np.array([30, 0, 0], np.float32)  # the prediction's own eyes do not set the scale
    expected = Akd()(frame(moved), frame(points)) / 100
    assert AkdInterOcular()(frame(moved), frame(points)) == pytest.approx(expected, rel=1e-12)


def test_coinciding_eye_corners_are_unscorable(points: NDArray[np.float32]) -> None:
    points[33] = points[263]
    with pytest.raises(Unscorable, match="eye corners coincide in the driver"):
        AkdInterOcular()(frame(points), frame(points))


@pytest.mark.parametrize("metric", [Akd(), AkdInterOcular()])
def test_the_reason_names_the_image_without_a_face(metric: Akd | AkdInterOcular, points: NDArray[np.float32]) -> None:
    with pytest.raises(Unscorable, match=r"^no face found in the prediction$"):
        metric(frame(None), frame(points))
    with pytest.raises(Unscorable, match=r"^no face found in the driver$"):
        metric(frame(points), frame(None))
    with pytest.raises(Unscorable, match=r"^no face found in the prediction; no face found in the driver$"):
        metric(frame(None), frame(None))


def test_the_note_counts_faces_beyond_the_first(points: NDArray[np.float32]) -> None:
    assert Akd().note(frame(points), frame(points)) is None
    assert Akd().note(frame(points, faces=2), frame(points)) == "2 faces in the prediction, largest taken"
    both = Akd().note(frame(points, faces=2), frame(points, faces=3))
    assert both == "2 faces in the prediction, largest taken; 3 faces in the driver, largest taken"
