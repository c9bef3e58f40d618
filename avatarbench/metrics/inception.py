"""The Inception network of FID and KID: torch-fidelity's port, its resize, 2048 pooled features."""

from __future__ import annotations

import io
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
    stack,
    versions,
)

if TYPE_CHECKING:
    from torch import nn


class Inception:
    """``pooled`` (2048,) float32 of an (H, W, 3) uint8 frame of any size."""

    id: ClassVar[str] = "inception"
    requires: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[tuple[str, ...]] = ("pooled",)
    activations: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1

    def __init__(self, device: str = "cpu", weights: Path | None = None) -> None:
        self.device = device
        self.weights = Weights("inception-2015", weights)

    @cached_property
    def fingerprint(self) -> str:
        preprocessing = {**versions("torch-fidelity"), "resize": "tensorflow-1 bilinear 299"}
        return fingerprint(self.id, self.version, self.weights.sha256, preprocessing)

    @cached_property
    def _network(self) -> nn.Module:
        import torch
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        # torch-fidelity unpickles the file it is given without restriction, so it is given our own copy of the
        # tensors that the safe reader found.
        copy = io.BytesIO()
        torch.save(read_state_dict(self.weights.path), copy)
        copy.seek(0)
        try:
            network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=copy)
        except RuntimeError as error:
            raise AssetError(f"{self.weights.path} does not fit torch-fidelity's Inception: {error}") from error
        return network.to(self.device)

    def extract(self, frames: Sequence[Frame], activations: bool) -> list[Features | Missing]:
        found: list[Features | Missing] = [Missing("not extracted")] * len(frames)
        with float32_inference():
            for indices in batches(frames, self.device):
                (pooled,) = self._network(stack([frames[i] for i in indices], self.device))
                for index, row in zip(indices, pooled.cpu().numpy(), strict=True):
                    found[index] = {"pooled": row.copy()}
        return found

    def close(self) -> None:
        self.__dict__.pop("_network", None)
