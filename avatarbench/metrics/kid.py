"""``kid``: kernel Inception distance, unbiased, over seeded subsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatarbench.metric import MetricSpec
from avatarbench.metrics.features import Frame

SUBSETS = 100
SUBSET_SIZE = 1000
SEED = 2020

SPEC = MetricSpec(
    id="kid",
    name="KID",
    version=1,
    kind="set",
    better="lower",
    unit="",
    range=(float("-inf"), float("inf")),
    against="real",
    definition=(
        "Squared maximum mean discrepancy between the Inception features (as in fid) of the predictions and of the "
        "protocol's real frames: kernel (x.y / 2048 + 1)^3, unbiased estimator, mean over 100 random subsets of "
        "min(1000, N) frames of each side (N the smaller side), drawn without replacement with seed 2020 as "
        "torch-fidelity draws them. Unbiased, so values slightly below zero occur; the raw value, not multiplied by "
        "1000. N is printed."
    ),
    citation=(
        "Binkowski, Sutherland, Arbel and Gretton, Demystifying MMD GANs, ICLR 2018; Obukhov et al., torch-fidelity, "
        "2020"
    ),
    factory="avatarbench.metrics.kid:Kid",
    extractors=("inception",),
    assets=("inception-2015",),
    minimum=2,
    digits=4,
)


@dataclass(frozen=True)
class Samples:
    """(N, D) features: a kernel statistic needs them all. Merging appends."""

    features: NDArray[np.float64]

    @property
    def n(self) -> int:
        return len(self.features)

    def merge(self, other: Samples) -> Samples:
        return Samples(np.concatenate((self.features, other.features)))


class Kid:
    """A set metric: features (2048,) -> :class:`Samples` -> mean MMD over subsets."""

    def features(self, frame: Frame) -> NDArray[np.float32]:
        return frame["inception"]["pooled"]

    def statistics(self, features: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> Samples:
        return Samples(np.asarray(features, np.float64))

    def value(self, prediction: Samples, reference: Samples) -> float:
        size = min(SUBSET_SIZE, prediction.n, reference.n)
        if prediction.n == reference.n == size:  # every subset is the whole set
            return mmd2(prediction.features, reference.features)
        draw = np.random.RandomState(SEED)
        return float(
            np.mean(
                [
                    mmd2(
                        prediction.features[draw.choice(prediction.n, size, replace=False)],
                        reference.features[draw.choice(reference.n, size, replace=False)],
                    )
                    for _ in range(SUBSETS)
                ]
            )
        )


def mmd2(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Unbiased squared MMD of (m, D) and (m, D), m >= 2, under the kernel (x.y / D + 1)^3 (eq. 4 of the KID paper)."""
    m, dimensions = x.shape

    def kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return (a @ b.T / dimensions + 1) ** 3

    within = sum(k.sum() - np.trace(k) for k in (kernel(x, x), kernel(y, y)))
    return float(within / (m * (m - 1)) - 2 * kernel(x, y).mean())
