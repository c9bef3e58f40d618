"""``fid``: Frechet Inception distance as torch-fidelity defines it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avatarbench.metric import MetricSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from avatarbench.metrics.features import Frame
    from avatarbench.metrics.frechet import Gaussian

SPEC = MetricSpec(
    id="fid",
    name="FID",
    version=1,
    kind="set",
    better="lower",
    unit="",
    range=(0.0, float("inf")),
    against="real",
    definition=(
        "Frechet distance between Gaussians fitted to Inception features of the predictions and of the protocol's "
        "real frames: the TensorFlow network of 2015-12-05 as ported by torch-fidelity, 2048 pooled features, 8-bit "
        "RGB resized to 299 x 299 by its TensorFlow-1 bilinear resize, covariances by N - 1. Biased upwards for small "
        "N, which is printed."
    ),
    citation=(
        "Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash equilibrium, NeurIPS "
        "2017; Obukhov et al., torch-fidelity, 2020"
    ),
    factory="avatarbench.metrics.fid:Fid",
    extractors=("inception",),
    assets=("inception-2015",),
    minimum=2,
    digits=2,
)


class Fid:
    """A set metric: features (2048,) -> :class:`Gaussian` -> Frechet distance."""

    def features(self, frame: Frame) -> NDArray[np.float32]:
        return frame["inception"]["pooled"]

    def statistics(self, features: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> Gaussian:
        from avatarbench.metrics.frechet import Gaussian

        return Gaussian.of(features)

    def value(self, prediction: Gaussian, reference: Gaussian) -> float:
        from avatarbench.metrics.frechet import frechet_distance

        return frechet_distance(prediction, reference)
