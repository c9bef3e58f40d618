"""A camera turned onto the middle of a crop: the same rays, through a homography that projection itself checks."""

import numpy as np
import pytest

from avatarbench.methods.lam.centred import centred, warped


def camera(cx: float, cy: float, width: int = 512, height: int = 512) -> dict[str, object]:
    angle = 0.3
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    pose[:3, 3] = 0.02, -0.05, 1.1
    return {
        "K": np.array([[1400.0, 0, cx], [0, 1450.0, cy], [0, 0, 1]]),
        "world_to_camera": pose,
        "width": width,
        "height": height,
    }


def project(camera: dict[str, object], points: np.ndarray) -> np.ndarray:
    """Pixels (N, 2) of points (N, 3)."""
    pose, K = np.asarray(camera["world_to_camera"]), np.asarray(camera["K"])
    seen = K @ (pose[:3, :3] @ points.T + pose[:3, 3:])
    return (seen[:2] / seen[2]).T


@pytest.mark.parametrize(("cx", "cy"), [(256, 256), (80, 300), (-400, 700)])
def test_the_homography_takes_every_pixel_to_where_the_turned_camera_sees_the_same_point(cx: float, cy: float) -> None:
    original = camera(cx, cy)
    turned, homography = centred(original, 512)
    points = np.random.default_rng(0).uniform(-0.15, 0.15, (50, 3))
    pixels = np.column_stack([project(original, points), np.ones(50)])
    moved = homography @ pixels.T
    np.testing.assert_allclose((moved[:2] / moved[2]).T, project(turned, points), atol=1e-8)


@pytest.mark.parametrize(("cx", "cy"), [(80, 300), (-400, 700)])
def test_the_turned_picture_has_its_principal_point_in_the_middle_and_reaches_the_crops_corners(
    cx: float, cy: float
) -> None:
    turned, homography = centred(camera(cx, cy), 512)
    assert turned["K"][0, 2] == turned["K"][1, 2] == 256
    assert (turned["width"], turned["height"]) == (512, 512)
    assert turned["K"][0, 0] / turned["K"][1, 1] == pytest.approx(1400 / 1450)  # pixels keep their shape
    corners = homography @ np.array([[0, 512, 512, 0], [0, 0, 512, 512], [1.0] * 4])
    corners = corners[:2] / corners[2]
    assert corners.min() >= -1e-9
    assert corners.max() <= 512 + 1e-9
    assert max(corners.max() - 512, -corners.min()) > -1e-6  # no more than that: as large a scale as it can be


def test_a_centred_camera_is_left_alone_and_so_is_its_picture() -> None:
    original = camera(256, 256)
    turned, homography = centred(original, 512)
    np.testing.assert_allclose(turned["K"], original["K"])
    np.testing.assert_allclose(turned["world_to_camera"], original["world_to_camera"])
    picture = np.random.default_rng(1).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    assert warped(picture, homography, 512, 512) is picture


def test_another_size_is_a_change_of_scale() -> None:
    turned, _ = centred(camera(128, 128, 256, 256), 512)
    np.testing.assert_allclose(turned["K"], [[2800, 0, 256], [0, 2900, 256], [0, 0, 1]])


def test_a_picture_of_the_turned_camera_comes_back_into_the_crop_where_it_belongs() -> None:
    original = camera(80, 300)
    _, homography = centred(original, 512)

    def shade(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return 128 + 60 * np.sin(x / 40) + 50 * np.cos(y / 30)

    middle = np.arange(512) + 0.5
    rendered = np.repeat(shade(middle[None], middle[:, None]).round().astype(np.uint8)[..., None], 3, axis=2)
    back = warped(rendered, homography, 512, 512)
    x, y = np.meshgrid(middle, middle)
    there = homography @ np.stack([x.ravel(), y.ravel(), np.ones(512 * 512)])
    expected = shade(there[0] / there[2], there[1] / there[2]).reshape(512, 512)
    difference = np.abs(back[..., 0] - expected)[3:-3, 3:-3]
    assert difference.max() < 2  # of 256 grey levels, after rounding twice
    assert not (back[0, 0] == 255).any()  # no edge of the background's colour
