"""What the decoder is trained to make small (paper, Eq. 6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from avatarbench.errors import AssetError
from avatarbench.fitting.loss import ssim
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.metrics.alexnet import AlexNet
from avatarbench.metrics.lpips import LpipsAlex, LpipsVgg, heads_file
from avatarbench.metrics.networks import read_state_dict
from avatarbench.metrics.trunk import EPSILON, SCALE, SHIFT, Trunk
from avatarbench.metrics.vgg16 import Vgg16

_TRUNKS: dict[str, type[Trunk]] = {"alex": AlexNet, "vgg": Vgg16}
_HEADS = {"alex": LpipsAlex.heads, "vgg": LpipsVgg.heads}


class Terms(NamedTuple):
    """Each without its weight: means over pixels of the absolute difference, of 1 - SSIM, the LPIPS distance, and the
    mean squared length of offsets, in units of the largest one that the decoder can make along an axis."""

    l1: Tensor
    ssim: Tensor
    lpips: Tensor
    offset: Tensor


class Perceptual(nn.Module):
    """LPIPS v0.1 between pictures, differentiable in the first; the networks and numbers of the metrics ``lpips-alex``
    and ``lpips-vgg``, frozen.

    Not the metrics' own class, which runs in inference mode and overwrites activations. Raises AssetError for weights
    that are missing or another network's.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str, device: torch.device) -> None:
        super().__init__()
        trunk = _TRUNKS[net]()
        layers = trunk.features()[: trunk.taps[-1] + 1]
        state = {k.removeprefix("features."): v for k, v in read_state_dict(trunk.weights.path).items()}
        try:
            layers.load_state_dict({k: v for k, v in state.items() if k in layers.state_dict()})
        except RuntimeError as error:
            raise AssetError(f"{trunk.weights.path} does not fit {trunk.id}: {error}") from error
        for layer in layers:
            if isinstance(layer, nn.ReLU):
                layer.inplace = False
        self.layers, self.taps = layers, trunk.taps
        heads = read_state_dict(heads_file(_HEADS[net]))
        for number in range(len(self.taps)):
            self.register_buffer(f"head{number}", heads[f"lin{number}.model.1.weight"].flatten().clone())
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1))
        self.eval().requires_grad_(False).to(device)

    def forward(self, images: Tensor, targets: Tensor) -> Tensor:
        """(B,) distances of (B, H, W, 3) pictures in [0, 1]."""
        with torch.no_grad():
            wanted = self._units(targets)
        found = images.new_zeros(len(images))
        for number, (ours, theirs) in enumerate(zip(self._units(images), wanted, strict=True)):
            head = self.get_buffer(f"head{number}")
            found = found + torch.einsum("bchw,c->bhw", (ours - theirs).square(), head).mean((1, 2))
        return found

    def _units(self, images: Tensor) -> list[Tensor]:
        """Activations (B, C, h, w) at the taps, of length one over the channels."""
        h = (images.permute(0, 3, 1, 2) * 2 - 1 - self.shift) / self.scale
        taps = []
        for number, layer in enumerate(self.layers):
            h = layer(h)
            if number in self.taps:
                # Not below the square root: at zero its gradient is infinite, and most channels of a white patch are.
                taps.append(h / (h.square().sum(1, keepdim=True) + EPSILON**2).sqrt())
        return taps


def terms(images: Tensor, targets: Tensor, offsets: Tensor, perceptual: Perceptual | None, bound: float) -> Terms:
    """Of one subject's pictures (V, H, W, 3) and its points' ``offsets`` (N, 3), metres. ``bound``: metres; without
    ``perceptual`` its term is zero."""
    return Terms(
        (images - targets).abs().mean(),
        1 - ssim(images, targets),
        images.new_zeros(()) if perceptual is None else perceptual(images, targets).mean(),
        (offsets / bound).square().sum(-1).mean(),
    )


def weighted(found: Terms, config: DecoderConfig) -> Tensor:
    """Eq. 6."""
    weights = config.train.weights
    return (
        weights.l1 * found.l1 + weights.ssim * found.ssim + weights.lpips * found.lpips + weights.offset * found.offset
    )
