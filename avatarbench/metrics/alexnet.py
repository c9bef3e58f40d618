"""AlexNet activations for ``lpips-alex``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from avatarbench.metrics.trunk import Trunk

if TYPE_CHECKING:
    from torch import nn


class AlexNet(Trunk):
    """Taps relu1 to relu5. Nothing of it is small enough to cache."""

    id: ClassVar[str] = "alexnet"
    asset: ClassVar[str] = "lpips-alexnet"
    taps: ClassVar[tuple[int, ...]] = (1, 4, 7, 9, 11)

    def features(self) -> nn.Sequential:
        from torchvision.models import alexnet

        return alexnet(weights=None).features
