"""VGG16 features, one forward pass for ``lpips-vgg`` and ``fd-vgg``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from avatarbench.metrics.trunk import Trunk

if TYPE_CHECKING:
    from torch import nn


class Vgg16(Trunk):
    """Taps relu1_2, relu2_2, relu3_3, relu4_3, relu5_3; ``pooled`` (512,) is relu5_3 averaged over the image."""

    id: ClassVar[str] = "vgg16"
    kept: ClassVar[tuple[str, ...]] = ("pooled",)
    asset: ClassVar[str] = "lpips-vgg16"
    taps: ClassVar[tuple[int, ...]] = (3, 8, 15, 22, 29)

    def features(self) -> nn.Sequential:
        from torchvision.models import vgg16

        return vgg16(weights=None, init_weights=False).features
