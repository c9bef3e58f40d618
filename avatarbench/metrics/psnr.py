"""``psnr``: peak signal-to-noise ratio over the full frame."""

from __future__ import annotations

import math

import numpy as np

from avatarbench.metric import MetricSpec
from avatarbench.metrics.features import Frame
from avatarbench.metrics.pixels import require_same_size

CEILING = 100.0

SPEC = MetricSpec(
    id="psnr",
    name="PSNR",
    version=1,
    kind="pair",
    better="higher",
    unit="dB",
    range=(0.0, CEILING),
    against="target",
    definition=(
        "min(10 log10(255^2 / MSE), 100): MSE over all pixels and the three sRGB channels of the full 8-bit frame, "
        "against the target. A table's value is the mean of the frames' dB. Identical frames have an infinite ratio, "
        "which would make the mean infinite and hide every other frame, so the ratio is capped at 100 dB (an MSE of "
        "6.5e-6: one value in 153,787 off by one grey level); capped frames carry a note."
    ),
    citation="Wang and Bovik, Mean squared error: love it or leave it?, IEEE Signal Processing Magazine 2009",
    factory="avatarbench.metrics.psnr:Psnr",
    digits=2,
)


class Psnr:
    """dB of a pair of equal size. Raises Unscorable where the sizes differ."""

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        mse = _mse(prediction, reference)
        return CEILING if mse == 0 else min(_decibels(mse), CEILING)

    def note(self, prediction: Frame, reference: Frame) -> str | None:
        mse = _mse(prediction, reference)
        if mse == 0:
            return "identical to the target, capped at 100 dB"
        capped = _decibels(mse) >= CEILING
        return "all but identical to the target (MSE at most 6.5e-6), capped at 100 dB" if capped else None


def _decibels(mse: float) -> float:
    return 10 * math.log10(255**2 / mse)


def _mse(prediction: Frame, reference: Frame) -> float:
    """Mean squared difference in grey levels, exact: the sum is an integer."""
    require_same_size(prediction, reference)
    difference = prediction.image.astype(np.int16) - reference.image
    return int(np.einsum("i,i->", difference.ravel(), difference.ravel(), dtype=np.int64)) / difference.size
