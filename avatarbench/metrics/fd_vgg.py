"""``fd-vgg``: Frechet distance on VGG16 features. Never printed as FID."""

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
    id="fd-vgg",
    name="FD-VGG",
    version=1,
    kind="set",
    better="lower",
    unit="",
    range=(0.0, float("inf")),
    against="real",
    definition=(
        "Frechet distance between Gaussians fitted to VGG16 features of the predictions and of the protocol's real "
        "frames: relu5_3 after the ReLU, averaged over the whole image (512 numbers), ImageNet-normalised input at "
        "the protocol's resolution without resizing. Covariances by N - 1. Depends on N, which is printed; not "
        "comparable with FID."
    ),
    citation=(
        "Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash equilibrium, NeurIPS "
        "2017 (the distance); Simonyan and Zisserman, Very deep convolutional networks, ICLR 2015 (the features)"
    ),
    factory="avatarbench.metrics.fd_vgg:FdVgg",
    extractors=("vgg16",),
    assets=("lpips-vgg16",),
    minimum=2,
    digits=2,
)


class FdVgg:
    """A set metric: features (512,) -> :class:`Gaussian` -> Frechet distance."""

    def features(self, frame: Frame) -> NDArray[np.float32]:
        return frame["vgg16"]["pooled"]

    def statistics(self, features: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> Gaussian:
        from avatarbench.metrics.frechet import Gaussian

        return Gaussian.of(features)

    def value(self, prediction: Gaussian, reference: Gaussian) -> float:
        from avatarbench.metrics.frechet import frechet_distance

        return frechet_distance(prediction, reference)
