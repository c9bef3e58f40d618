"""PSNR, SSIM and LPIPS on frames where the answer is known, and on frames that cannot be compared."""

from __future__ import annotations

import math

import numpy as np
import pytest

from avatarbench.errors import Unscorable
from avatarbench.metrics.features import Frame
from avatarbench.metrics.lpips import LpipsVgg
from avatarbench.metrics.psnr import CEILING, Psnr
from avatarbench.metrics.ssim import Ssim


def flat(level: int, height: int = 20, width: int = 24) -> Frame:
    return Frame(np.full((height, width, 3), level, np.uint8))


def test_one_grey_level_everywhere_is_48_decibels() -> None:
    assert Psnr()(flat(7), flat(8)) == pytest.approx(20 * math.log10(255), rel=1e-12)


def test_black_against_white_is_zero_decibels() -> None:
    assert Psnr()(flat(0), flat(255)) == 0


def test_identical_frames_are_capped_so_that_a_mean_stays_finite_and_a_note_says_so() -> None:
    psnr = Psnr()
    assert psnr(flat(9), flat(9)) == CEILING
    assert psnr.note(flat(9), flat(9)) == "identical to the target, capped at 100 dB"
    assert psnr.note(flat(9), flat(10)) is None


def test_the_cap_is_one_value_in_153787_and_a_capped_frame_that_differs_is_not_called_identical() -> None:
    one_off = []
    for values in (153_786, 153_789):
        image = np.full((values // 3, 1, 3), 9, np.uint8)
        image[0, 0, 0] = 10
        one_off.append((Frame(image), Frame(np.full_like(image, 9))))
    (below, capped), psnr = one_off, Psnr()
    assert CEILING - 1e-4 < psnr(*below) < CEILING
    assert psnr.note(*below) is None
    assert psnr(*capped) == CEILING
    assert psnr.note(*capped) == "all but identical to the target (MSE at most 6.5e-6), capped at 100 dB"


def test_identical_frames_have_structural_similarity_one() -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    assert Ssim()(Frame(image), Frame(image.copy())) == pytest.approx(1, abs=1e-7)


def test_flat_frames_compare_by_luminance_alone() -> None:
    c1 = (0.01 * 255) ** 2
    expected = (2 * 50 * 80 + c1) / (50**2 + 80**2 + c1)
    assert Ssim()(flat(50), flat(80)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("metric", [Psnr(), Ssim(), LpipsVgg()])
def test_frames_of_different_sizes_are_named_width_first(metric: Psnr | Ssim | LpipsVgg) -> None:
    with pytest.raises(Unscorable, match="prediction is 24x20, reference 30x20"):
        metric(flat(1), flat(1, width=30))


def test_a_frame_smaller_than_the_window_has_no_ssim() -> None:
    with pytest.raises(Unscorable, match="image is 24x10"):
        Ssim()(flat(1, height=10), flat(1, height=10))
