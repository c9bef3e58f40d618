"""``psnr`` against scikit-image and torchmetrics."""

from __future__ import annotations

import numpy as np

from avatarbench.metrics.features import Frame
from avatarbench.metrics.psnr import CEILING, Psnr
from tests.oracles import reference


def test_equals_skimage_and_torchmetrics() -> None:
    pairs = reference.image_pairs()
    for value, (prediction, target) in zip(reference.ours_on_pairs("psnr", pairs), pairs, strict=True):
        assert reference.relative(value, reference.psnr_skimage(prediction, target)) < 1e-12
        assert reference.relative(value, reference.psnr_torchmetrics(prediction, target)) < 1e-6


def test_identical_frames_score_the_ceiling_where_the_others_are_infinite() -> None:
    image = reference.image_pairs(1)[0][1]
    with np.errstate(divide="ignore"):
        assert np.isinf(reference.psnr_skimage(image, image))
    assert Psnr()(Frame(image), Frame(image.copy())) == CEILING
