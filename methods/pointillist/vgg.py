"""VGG16's last convolutions as image tokens, the encoder of small presets (Simonyan and Zisserman 2015)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from avatarbench.errors import AssetError
from avatarbench.metrics.networks import read_state_dict

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions, a block between two poolings. torchvision has the network too, and its import alone
takes several times as long as this one's forward pass."""
STRIDE, CHANNELS = 2 ** (len(BLOCKS) - 1), BLOCKS[-1][-1]


class Grid(nn.Module):
    """A stack of convolutions; its map (B, C, h, w) as (B, h w, C), row by row from the top left."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.layers(pixels)
        return found.flatten(2).transpose(1, 2)


def vgg16(path: Path) -> nn.Module:
    """relu5_3 of the weights in ``path``: (B, 3, S, S) -> (B, (S // 16)^2, 512), 14 x 14 tokens at 224.

    Raises AssetError for weights of another network.
    """
    with torch.device("meta"):  # no draws for numbers that the file replaces
        layers = _untrained()
    state = {name.removeprefix("features."): value for name, value in read_state_dict(path).items()}
    wanted = layers.state_dict().keys()
    try:
        layers.load_state_dict({name: v for name, v in state.items() if name in wanted}, assign=True)
    except RuntimeError as error:
        raise AssetError(f"{path} does not hold VGG16's convolutions: {error}") from error
    return Grid(layers)


def _untrained() -> nn.Sequential:
    """The layers up to relu5_3, under the numbers that torchvision's ``features`` give them."""
    layers: list[nn.Module] = []
    before = 3
    for block in BLOCKS:
        if layers:
            layers.append(nn.MaxPool2d(2))
        for channels in block:
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
            before = channels
    return nn.Sequential(*layers)
