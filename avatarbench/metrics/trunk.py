"""The ImageNet trunks of LPIPS (AlexNet, VGG16): one forward pass, unit activations at five taps, one pooled vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from avatarbench.errors import AssetError
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.metrics.networks import (
    Weights,
    batches,
    fingerprint,
    float32_inference,
    read_state_dict,
    row_slices,
    stack,
    too_small,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""LPIPS's scaling layer on RGB in [-1, 1], which is torchvision's ImageNet normalisation of [0, 1]:
2 x mean - 1 and 2 x std. One forward pass therefore serves LPIPS and features defined on ImageNet input."""

EPSILON = 1e-10
LEAST_SIDE = 32


class Trunk(ABC):
    """A torchvision ``features`` stack cut at ``taps`` (layer indices, in order).

    With activations a frame gets ``units``: per tap (h * w, C) float32, each row divided by its norm + 1e-10, which is
    what LPIPS compares; normalising where the activation was made does it once a frame, not once a pair. ``pooled``
    (C,) is the mean over the last tap.
    """

    id: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[tuple[str, ...]] = ()
    activations: ClassVar[tuple[str, ...]] = ("units",)
    asset: ClassVar[str]
    taps: ClassVar[tuple[int, ...]]
    version: ClassVar[int] = 1

    def __init__(self, device: str = "cpu", weights: Path | None = None) -> None:
        self.device = device
        self.weights = Weights(self.asset, weights)

    @abstractmethod
    def features(self) -> nn.Sequential:
        """The untrained torchvision layers."""

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(
            self.id, self.version, self.weights.sha256, {"shift": SHIFT, "scale": SCALE, "taps": self.taps}
        )

    @cached_property
    def _layers(self) -> nn.Sequential:
        import torch

        with torch.device("meta"):  # a classifier's 100 million random numbers would take a second, and are not read
            layers = self.features()[: self.taps[-1] + 1]
        state = {k.removeprefix("features."): v for k, v in read_state_dict(self.weights.path).items()}
        wanted = layers.state_dict().keys()
        try:
            layers.load_state_dict({k: v.float() for k, v in state.items() if k in wanted}, assign=True)
        except RuntimeError as error:
            raise AssetError(f"{self.weights.path} does not fit {self.id}: {error}") from error
        layers.eval().requires_grad_(False)
        return layers.to(self.device).to(memory_format=torch.channels_last)

    def extract(self, frames: Sequence[Frame], activations: bool) -> list[Features | Missing]:
        found: list[Features | Missing | None] = [too_small(frame, LEAST_SIDE, self.id) for frame in frames]
        fit = [index for index, reason in enumerate(found) if reason is None]
        with float32_inference():
            for group in batches([frames[index] for index in fit], self.device):
                indices = [fit[position] for position in group]
                for index, features in zip(
                    indices, self._forward([frames[i] for i in indices], activations), strict=True
                ):
                    found[index] = features
        return [features for features in found if features is not None]

    def _forward(self, frames: Sequence[Frame], activations: bool) -> list[Features]:
        import torch

        shift, scale = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (SHIFT, SCALE))
        h = stack(frames, self.device).float().div_(127.5).sub_(1).sub_(shift).div_(scale)
        taps: list[Tensor] = []
        for index, layer in enumerate(self._layers):
            h = layer(h)
            # The last tap is normalised only now: its next layer has read it, and ReLU in place has already run.
            if taps and activations and index - 1 == self.taps[len(taps) - 1]:
                _normalise(taps[-1])
            if index in self.taps:
                taps.append(h)
        pooled = h.mean(dim=(2, 3)).cpu().numpy()
        if not activations:
            return [self._features(pooled[n], None) for n in range(len(frames))]
        _normalise(taps[-1])
        rows = [tap.permute(0, 2, 3, 1).flatten(1, 2) for tap in taps]
        return [self._features(pooled[n], tuple(row[n] for row in rows)) for n in range(len(frames))]

    def _features(self, pooled: object, units: tuple[Tensor, ...] | None) -> Features:
        outputs = {"pooled": pooled} if "pooled" in self.kept else {}
        return outputs if units is None else {**outputs, "units": units}

    def close(self) -> None:
        self.__dict__.pop("_layers", None)


def _normalise(activation: Tensor) -> None:
    """Divide an (N, C, h, w) activation in place by its norm over C + 1e-10 (``normalize_tensor`` of lpips 0.1.4)."""
    import torch

    rows = activation.permute(0, 2, 3, 1).flatten(0, 2)
    for part in row_slices(rows):
        rows[part] *= torch.linalg.vector_norm(rows[part], dim=1, keepdim=True).add_(EPSILON).reciprocal_()
