"""Image tokens: a frozen network over the portrait (paper section 4.1 names DINOv2; methods/pointillist/README.md
which)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from avatarbench.errors import DataError, UsageError
from avatarbench.methods.pointillist.config import ImageTokens
from avatarbench.methods.pointillist.dinov2 import PATCH, REGISTERS, WIDTH, dinov2
from avatarbench.methods.pointillist.vgg import CHANNELS, STRIDE, vgg16
from avatarbench.metrics.networks import GPU_BATCH, Weights, fingerprint, float32_inference

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
"""ImageNet's, of RGB in [0, 1]; both networks were trained under them."""

WHITE = 1.0
LEAST_SIDE = 32
_VERSION = 1
_ASSETS = {"vgg16": "lpips-vgg16", "dinov2-vitl14-reg": "dinov2-vitl14-reg"}


class ImageEncoder:
    """``shape``: the ``count`` and ``width`` of the tokens that ``network`` makes of (B, 3, size, size).
    ``fingerprint``: hash of the weights and of what is done to a picture before, for caches and records."""

    def __init__(
        self, network: nn.Module, size: int, shape: tuple[int, int], device: str | torch.device, fingerprint: str
    ) -> None:
        self.network = network.eval().requires_grad_(False).to(device)
        self.size, self.device, self.fingerprint = size, torch.device(device), fingerprint
        self.count, self.width = shape

    def tokens(self, images: Tensor) -> Tensor:
        """``images`` (B, H, W, 3) uint8 sRGB -> (B, count, width) float32 on the encoder's device.

        The whole picture, made square by white on both sides of its shorter side, resized with antialiasing. On a CPU
        one picture at a time, so that its tokens are the same to the last bit in any batch. Raises DataError for
        another shape or type and for pictures below 32 pixels a side.
        """
        if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != torch.uint8 or not len(images):
            raise DataError(f"images are (B, H, W, 3) uint8, and these are {tuple(images.shape)} {images.dtype}.")
        height, width = images.shape[1:3]
        if min(height, width) < LEAST_SIDE:
            raise DataError(f"the picture is {width} x {height} pixels: bring one of at least {LEAST_SIDE} a side.")
        step = 1 if self.device.type == "cpu" else GPU_BATCH
        with float32_inference():
            found = [self.network(prepared(part.to(self.device), self.size)) for part in images.split(step)]
        return torch.cat(found)  # made outside of inference mode: what is trained on it may keep it for its gradients


def prepared(images: Tensor, size: int) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, ``size``, ``size``) float32 as the networks take them."""
    pixels = images.permute(0, 3, 1, 2).float() / 255
    height, width = pixels.shape[-2:]
    side = max(height, width)
    left, top = (side - width) // 2, (side - height) // 2
    square = pad(pixels, (left, side - width - left, top, side - height - top), value=WHITE)
    small = interpolate(square, (size, size), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
    mean, deviation = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    return (small - mean) / deviation


def load_encoder(config: ImageTokens, device: str | torch.device = "cpu", weights: Path | None = None) -> ImageEncoder:
    """The configured encoder with its published weights, or those of a file ``weights``.

    Raises UsageError for a size that the network does not take, AssetError for weights that are missing or another
    network's.
    """
    if config.encoder != "vgg16" and config.size % PATCH:
        raise UsageError(f"image.size {config.size} is no multiple of {config.encoder}'s patches of {PATCH} pixels.")
    file = Weights(_ASSETS[config.encoder], weights)
    preprocessing = {"mean": MEAN, "deviation": DEVIATION, "size": config.size, "resize": "white square, bicubic"}
    identity = fingerprint(config.encoder, _VERSION, file.sha256, preprocessing)
    if config.encoder == "vgg16":
        network, shape = vgg16(file.path), ((config.size // STRIDE) ** 2, CHANNELS)
    else:
        network, shape = dinov2(file.path, config.size), (1 + REGISTERS + (config.size // PATCH) ** 2, WIDTH)
    return ImageEncoder(network, config.size, shape, device, identity)
