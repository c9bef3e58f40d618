"""VGG16's last convolutions as image tokens, the encoder of small presets."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from avatarbench.errors import AssetError
from avatarbench.metrics.networks import read_state_dict

LAYERS = 30  # of torchvision's stack: up to and with relu5_3


class Grid(nn.Module):
    """A stack of convolutions; its map (B, C, h, w) as (B, h w, C), row by row from the top left."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.layers(pixels)
        return found.flatten(2).transpose(1, 2)


def vgg16(path: Path, size: int) -> nn.Module:
    """relu5_3 of the weights in ``path``: (B, 3, size, size) -> (B, (size // 16)^2, 512), 14 x 14 tokens at 224.

    Raises AssetError for weights of another network.
    """
    from torchvision.models import vgg16 as untrained

    with torch.device("meta"):  # no seconds and no draws for numbers that the file replaces
        layers = untrained(weights=None, init_weights=False).features[:LAYERS]
    state = {name.removeprefix("features."): value for name, value in read_state_dict(path).items()}
    try:
        wanted = layers.state_dict().keys()
        layers.load_state_dict({name: v for name, v in state.items() if name in wanted}, assign=True)
    except RuntimeError as error:
        raise AssetError(f"{path} does not hold VGG16's convolutions: {error}") from error
    return Grid(layers)
