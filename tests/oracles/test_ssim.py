"""``ssim`` against scikit-image, which leaves out the same border, and the inner part of torchmetrics' map."""

from __future__ import annotations

import numpy as np

from tests.oracles import reference


def test_equals_skimage_and_torchmetrics() -> None:
    pairs = reference.image_pairs()
    for value, (prediction, target) in zip(reference.ours_on_pairs("ssim", pairs), pairs, strict=True):
        assert reference.relative(value, reference.ssim_skimage(prediction, target)) < 1e-6
        assert reference.relative(value, reference.ssim_torchmetrics(prediction, target)) < 1e-6


def test_flat_bright_frames_do_not_lose_the_variance_to_rounding() -> None:
    noise = np.random.default_rng(0)
    target = (250 + noise.integers(0, 2, (64, 80, 3))).astype(np.uint8)
    prediction = (250 + noise.integers(0, 2, (64, 80, 3))).astype(np.uint8)
    (value,) = reference.ours_on_pairs("ssim", [(prediction, target)])
    assert reference.relative(value, reference.ssim_skimage(prediction, target)) < 1e-7
