import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarbench.datasets.crop import Crop, apply, apply_mask, crop_camera, face_crop, paste_back, square_crop
from avatarbench.method import Camera


def box(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([[x, y, 0], [x + width, y + height, 0]], np.float32)


def test_the_square_is_centred_on_the_face_and_scaled() -> None:
    assert face_crop(box(100, 80, 40, 60), (400, 600, 3), 2.0) == Crop(60, 50, 120)


def test_the_square_is_at_most_the_shorter_side_and_shifted_inside() -> None:
    assert face_crop(box(100, 80, 40, 300), (400, 600, 3), 2.0) == Crop(0, 0, 400)
    assert face_crop(box(0, 0, 40, 60), (400, 600, 3), 2.0) == Crop(0, 0, 120)
    assert face_crop(box(570, 350, 40, 60), (400, 600, 3), 2.0) == Crop(480, 280, 120)


@given(
    st.tuples(*[st.floats(-500, 1500)] * 2, *[st.floats(0.1, 1500)] * 2),
    st.integers(1, 900),
    st.integers(1, 900),
    st.floats(0.5, 4),
)
def test_no_crop_leaves_the_image(face: tuple[float, ...], height: int, width: int, scale: float) -> None:
    crop = face_crop(box(*face), (height, width, 3), scale)
    assert 0 <= crop.x <= width - crop.side
    assert 0 <= crop.y <= height - crop.side
    assert 1 <= crop.side <= min(height, width)


def test_a_tiny_change_of_the_landmarks_changes_nothing() -> None:
    face = box(100.3, 80.2, 40, 60)
    assert face_crop(face + 1e-3, (400, 600, 3), 1.8) == face_crop(face, (400, 600, 3), 1.8)


def test_landmarks_that_span_nothing_are_refused() -> None:
    for face in (box(3, 3, 0, 0), box(np.nan, 0, 1, 1)):
        with pytest.raises(ValueError, match="span"):
            face_crop(face, (10, 10, 3), 1.8)


def test_without_a_face_crop_the_largest_centred_square_is_taken() -> None:
    assert square_crop((360, 640, 3)) == Crop(140, 0, 360)
    assert square_crop((512, 512, 3)) == Crop(0, 0, 512)


def test_a_crop_at_its_own_size_copies_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert np.array_equal(apply(image, Crop(7, 5, 30), 30), image[5:35, 7:37])


def test_a_crop_is_resampled_once_to_its_size() -> None:
    ramp = np.broadcast_to(np.arange(0, 240, dtype=np.uint8)[None, :, None], (240, 240, 3))
    small = apply(ramp, Crop(0, 0, 240), 60)
    assert small.shape == (60, 60, 3)
    assert np.abs(small[30, 5:55, 0] - (np.arange(5, 55) * 4 + 1.5)).max() <= 1


def test_the_way_back_is_plain_numbers() -> None:
    crop = Crop(10, 20, 50)
    assert Crop(**json.loads(json.dumps(crop.to_dict()))) == crop


def test_a_cropped_camera_sees_each_point_where_the_cropped_image_shows_it() -> None:
    K = np.array([[300.0, 0, 70], [0, 310, 40], [0, 0, 1]])
    camera = Camera(K, np.eye(4), 160, 90)
    cropped = crop_camera(camera, Crop(30, 10, 80), 256)
    assert (cropped.width, cropped.height) == (256, 256)
    point = np.array([0.02, -0.01, 1.5])
    u, v = (K @ point)[:2] / point[2]
    expected = (np.array([u, v]) - [30, 10]) * 256 / 80
    assert np.allclose((cropped.K @ point)[:2] / point[2], expected)
    assert camera.K[0, 2] == 70


def test_a_mask_is_cut_and_resampled_as_the_image_is() -> None:
    y, x = np.mgrid[0:60, 0:90]
    mask = np.exp(-((x - 50) ** 2 + (y - 30) ** 2) / 300).astype(np.float32)
    crop = Crop(20, 5, 50)
    image = np.repeat((255 * mask).astype(np.uint8)[..., None], 3, axis=2)
    found = apply_mask(mask, crop, 32)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert np.abs(found - apply(image, crop, 32)[..., 0] / 255).max() < 2 / 255
    assert np.array_equal(apply_mask(mask[:60, :60], Crop(0, 0, 60), 60), mask[:60, :60])
    edge = apply_mask((x > 50).astype(np.float32), crop, 32)
    assert (edge.min(), edge.max()) == (0, 1)  # without the overshoot that Lanczos has at edges


def test_a_crop_pasted_back_gives_the_original_and_a_mask_keeps_what_is_outside() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    crop = Crop(7, 5, 30)
    assert np.array_equal(paste_back(apply(image, crop, 30), crop, image), image)
    grey = np.full((60, 60, 3), 90, np.uint8)
    pasted = paste_back(grey, crop, image)
    assert (pasted[5:35, 7:37] == 90).all()
    pasted[5:35, 7:37] = image[5:35, 7:37]
    assert np.array_equal(pasted, image)
    half = np.zeros((60, 60), np.float32)
    half[:, 30:] = 1
    kept = paste_back(grey, crop, image, half)
    assert np.array_equal(kept[5:35, 7:18], image[5:35, 7:18])
    assert (kept[5:35, 26:37] == 90).all()
    for wrong in (Crop(7.5, 5, 30), Crop(21, 5, 30), Crop(-1, 5, 30)):
        with pytest.raises(ValueError, match="no square of whole pixels inside"):
            paste_back(grey, wrong, image)
