"""Changes of a training subject that leave it a subject: all alike for cloud, tracked head and portrait."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from avatarbench.methods.pointillist.config import Augment

WAVES = 24
REACH = 0.35
"""Places nearer than about this part of the cube's side are displaced alike."""
FURTHEST = 3.0
"""No factor or wave is drawn further from its mean than so many standard deviations."""


class Change(NamedTuple):
    """``scales`` (3,) of the axes; the displacement is the sum of ``waves``: ``frequencies`` (K, 3) radians a metre,
    ``phases`` (K,), ``heights`` (K, 3) metres."""

    mirrored: bool
    scales: Tensor
    frequencies: Tensor
    phases: Tensor
    heights: Tensor

    def places(self, positions: Tensor) -> Tensor:
        """(N, 3) metres in the rig's axes, moved: mirrored at x = 0, scaled about the origin, displaced."""
        moved = positions * self.scales
        if self.mirrored:
            moved = moved * moved.new_tensor([-1.0, 1.0, 1.0])
        waves = torch.cos(moved @ self.frequencies.T + self.phases)
        return moved + waves @ self.heights

    def faces(self, faces: Tensor) -> Tensor:
        """(F, 3) corners, still counter-clockwise from outside: a mirror turns them."""
        return faces[:, [0, 2, 1]] if self.mirrored else faces


def draw_change(augment: Augment, side: float, generator: torch.Generator) -> Change:
    """One of a subject in a cube of ``side`` metres. Draws the same numbers whatever is configured.

    The displacement is a Gaussian random field with standard deviation ``augment.warp`` and length scale
    :data:`REACH` x ``side``, by random Fourier features (Rahimi & Recht 2007): smooth everywhere, the same anywhere.
    """
    mirrored = bool(torch.rand((), generator=generator) < 0.5) and augment.mirror
    scales = 1 + augment.scale * _normal((3,), generator)
    frequencies = _normal((WAVES, 3), generator) / (REACH * side)
    phases = torch.rand(WAVES, generator=generator) * 2 * math.pi
    heights = _normal((WAVES, 3), generator) * augment.warp * math.sqrt(2 / WAVES)
    return Change(mirrored, scales, frequencies, phases, heights)


def coloured(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """(H, W, 3) uint8 in other light: contrast about the mean, brightness, and each channel by itself, by factors
    within ``strength`` of 1 (channels: half of it)."""
    contrast, brightness = 1 + strength * (2 * torch.rand(2, generator=generator) - 1)
    gains = brightness * (1 + strength / 2 * (2 * torch.rand(3, generator=generator) - 1))
    pixels = image.float()
    mean = pixels.mean()
    return ((pixels - mean) * contrast + mean).mul(gains).round().clamp(0, 255).to(torch.uint8)


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator).clamp(-FURTHEST, FURTHEST)
