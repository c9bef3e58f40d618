"""The Gaussian decoder: from points, stage one's states and image tokens to what is rendered (paper section 4.2)."""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.decoder.blocks import EPSILON, JointBlock
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.methods.pointillist.stage_one import ImageProjection
from avatarbench.methods.pointillist.surface_encoder import fourier
from avatarbench.methods.pointillist.tokenizer import SLOTS

ZERO = 1e-6
"""A quaternion shorter than this is taken for no rotation."""


class Attributes(NamedTuple):
    """Of each point, float32: ``colours`` (B, N, 3) sRGB in [0, 1], the same from everywhere; ``opacities`` (B, N);
    ``scales`` (B, N, 3) metres, standard deviations; ``quaternions`` (B, N, 4) w x y z, of length one; ``offsets``
    (B, N, 3) metres, in the rig's axes. Without B: of one subject."""

    colours: Tensor
    opacities: Tensor
    scales: Tensor
    quaternions: Tensor
    offsets: Tensor

    def subject(self, index: int, count: int | None = None) -> Self:
        """One subject's, without what pads it beyond ``count`` points."""
        return type(self)(*(value[index, :count] for value in self))


class Decoder(nn.Module):
    """``image_tokens``: how many the frozen image encoder gives, and their width; ``ar_width``: of stage one's states,
    which not every variant reads."""

    def __init__(self, config: DecoderConfig, image_tokens: tuple[int, int], ar_width: int) -> None:
        super().__init__()
        self.config = config
        self.ar_width = ar_width
        width = config.width
        self.positions = _mlp(3 * (2 * config.bands + 1), width) if config.reads_positions else None
        self.states = _mlp(SLOTS * ar_width, width) if config.reads_states else None
        self.join = nn.Linear(width * (config.reads_positions + config.reads_states), width)
        self.image = ImageProjection(*image_tokens, width)
        last = config.blocks - 1
        self.blocks = nn.ModuleList(JointBlock(width, config.heads, last=i == last) for i in range(config.blocks))
        self.heads = Heads(config)

    def forward(self, points: Tensor, states: Tensor | None, image: Tensor, mask: Tensor | None = None) -> Attributes:
        """``points`` (B, N, 3) of :func:`inputs_of`; ``states`` (B, N, 4, ar_width) of the tokens x, y, z, b, None
        where the variant reads none; ``image`` (B, I, W); ``mask`` (B, N) bool, False where a row only pads.

        Padding has no part in the others' attributes, whatever stands there; what it is given means nothing. Points
        have no order. Raises DataError for states that are missing or of another size.
        """
        x = self.embedded(points, states, mask).float()  # what blocks add up stays whole where they run in bf16
        pictured = self.image(image.float()).float()
        seen = None
        if mask is not None:
            seen = torch.cat([mask, mask.new_ones(pictured.shape[:2])], 1)[:, None, None, :]
        again = self.config.train.checkpointing and self.training and torch.is_grad_enabled()
        for block in self.blocks:
            if again:
                x, pictured = checkpoint(block, x, pictured, seen, use_reentrant=False, preserve_rng_state=False)
            else:
                x, pictured = block(x, pictured, seen)
        return self.heads(x)

    def embedded(self, points: Tensor, states: Tensor | None, mask: Tensor | None) -> Tensor:
        """(B, N, width): P of Eq. 4, F, or both, joined."""
        parts = []
        hidden = None if mask is None else ~mask[..., None]
        if self.positions is not None:
            # Also what is not finite is gone from padding: zero attention to NaN is NaN.
            places = points if hidden is None else points.masked_fill(hidden, 0)
            parts.append(self.positions(fourier(places, self.config.bands)))
        if self.states is not None:
            wanted = (*points.shape[:2], SLOTS, self.ar_width)
            if states is None or states.shape != wanted:
                found = "none" if states is None else tuple(states.shape)
                raise DataError(
                    f"the variant '{self.config.variant}' reads states of stage one {wanted}, and was given {found}: "
                    "bring those of the tokens that these points were made of."
                )
            flat = states.flatten(-2).to(self.join.weight.dtype)
            parts.append(self.states(flat if hidden is None else flat.masked_fill(hidden, 0)))
        return self.join(torch.cat(parts, -1))


class Heads(nn.Module):
    """A linear layer for each attribute, and the function that keeps it within its bounds.

    The layers start at zero, with biases that give ``config.start``, no rotation and no offset: learning moves every
    attribute from there.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        start = config.start
        self.limits = config.limits
        self.norm = nn.LayerNorm(config.width, eps=EPSILON)
        self.colour = _start_at(nn.Linear(config.width, 3), [_logit(start.colour)] * 3)
        self.opacity = _start_at(nn.Linear(config.width, 1), [_logit(start.opacity)])
        self.scale = _start_at(nn.Linear(config.width, 3), [math.log(start.scale)] * 3)
        self.quaternion = _start_at(nn.Linear(config.width, 4), [1.0, 0.0, 0.0, 0.0])
        self.offset = _start_at(nn.Linear(config.width, 3), [0.0] * 3)

    def forward(self, x: Tensor) -> Attributes:
        """(B, N, width) -> attributes, in float32 whatever precision the blocks ran in."""
        limits = self.limits
        with torch.autocast(x.device.type, enabled=False):
            x = self.norm(x.float())
            # Before the exponential: beyond it a large logarithm would be infinite, and its gradient NaN.
            logarithms = self.scale(x).clamp(math.log(limits.least), math.log(limits.most))
            return Attributes(
                torch.sigmoid(self.colour(x)),
                torch.sigmoid(self.opacity(x)[..., 0]),
                logarithms.exp().clamp(limits.least, limits.most),  # the logarithm's rounding
                _unit(self.quaternion(x)),
                limits.offset * torch.tanh(self.offset(x)),
            )


def _unit(quaternions: Tensor) -> Tensor:
    identity = quaternions.new_tensor([1.0, 0.0, 0.0, 0.0])
    length = torch.linalg.vector_norm(quaternions.detach(), dim=-1, keepdim=True)
    return torch.where(length > ZERO, normalize(quaternions, dim=-1, eps=ZERO), identity)


def _mlp(features: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, width), nn.GELU(approximate="tanh"), nn.Linear(width, width))


def _start_at(layer: nn.Linear, values: list[float]) -> nn.Linear:
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(values))
    return layer


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
