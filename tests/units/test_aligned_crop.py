"""The crop that Portrait4D and AvatarArtist align by: known answers, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from avatarbench.methods.portrait4d_v2.aligned import HEAD, Aligned, aligned, back, fitted


def test_five_points_of_the_standard_head_give_its_size_and_place_however_it_is_turned() -> None:
    yaw = 0.3
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    size, middle = fitted(87.0 * (HEAD @ turn.T)[:, :2] + [210, 150])
    assert size == pytest.approx(87)
    assert middle == pytest.approx((210, 150))


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
def test_a_square_goes_back_to_where_it_was_cut(scale: float) -> None:
    smooth = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(smooth).resize((200, 160), Image.Resampling.BICUBIC)
    crop = aligned(picture.size, scale, (100, 90), 64)  # y up: 70 from the top
    resized = picture.resize((crop.width, crop.height), Image.Resampling.LANCZOS)
    left, top = int(crop.left), int(crop.top)
    square = np.asarray(resized.crop((left, top, left + 64, top + 64)))
    found = back(square, crop, picture.size)
    there = found[..., 3] == 255
    ys, xs = np.nonzero(there)
    assert (xs.min() + xs.max() + 1) / 2 == pytest.approx(100, abs=1)
    assert (ys.min() + ys.max() + 1) / 2 == pytest.approx(70, abs=1)
    assert 64 / scale - 2 <= np.sqrt(there.sum()) <= 64 / scale  # no pixel that it covers in part
    inner = np.s_[ys.min() + 4 : ys.max() - 3, xs.min() + 4 : xs.max() - 3]
    np.testing.assert_allclose(found[inner][..., :3].astype(int), np.asarray(picture)[inner].astype(int), atol=4)


def test_the_same_size_and_place_is_the_same_picture() -> None:
    square = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = back(square, Aligned(64, 48, 10, 5, 32), (64, 48))
    np.testing.assert_array_equal(found[5:37, 10:42, :3], square)
    assert (found[..., 3] == 255).sum() == 32 * 32


def test_a_square_beyond_the_picture_leaves_nothing_and_one_around_it_fills_it() -> None:
    square = np.full((16, 16, 3), 7, np.uint8)
    assert not back(square, Aligned(20, 20, 30, 0, 16), (20, 20)).any()
    around = back(square, Aligned(10, 10, -3, -3, 16), (20, 20))
    assert (around == [7, 7, 7, 255]).all()
