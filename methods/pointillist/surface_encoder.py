"""Point tokens: a perceiver over surface samples of the tracked head (paper section 4.1; the form of Michelangelo's
encoder, Zhao et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from avatarbench.methods.pointillist.config import PointTokens


def fourier(values: Tensor, bands: int) -> Tensor:
    """(..., D) in [-1, 1] -> (..., D (2 ``bands`` + 1)): the values, and sine and cosine of pi 2^k of them, k from 0.

    The longest wave is as long as the cube's side, the shortest of 8 bands a 128th of it: eight levels of 1,024.
    """
    angles = values[..., None, :] * (torch.pi * 2.0 ** torch.arange(bands, device=values.device))[:, None]
    return torch.cat([values[..., None, :], angles.sin(), angles.cos()], -2).flatten(-2)


class SurfaceEncoder(nn.Module):
    """Samples (B, S, 6), positions in the cube's units in [-1, 1] and unit normals -> (B, 1 + latents, width); the
    first token stands for the whole."""

    def __init__(self, config: PointTokens) -> None:
        super().__init__()
        self.bands = config.bands
        width = config.width
        self.latents = nn.Parameter(torch.randn(1 + config.latents, width) * 0.02)
        self.embed = nn.Linear(3 * (2 * config.bands + 1) + 3, width)
        self.gather = Block(width, config.heads, cross=True)
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, samples: Tensor) -> Tensor:
        latents = self.gather(self.latents.expand(len(samples), -1, -1), self.embedded(samples))
        for block in self.blocks:
            latents = block(latents)
        return self.norm(latents)

    def embedded(self, samples: Tensor) -> Tensor:
        """(..., 6) -> (..., width): each sample by itself."""
        return self.embed(torch.cat([fourier(samples[..., :3], self.bands), samples[..., 3:]], -1))


class Block(nn.Module):
    """Attention and feed-forward, each after a norm and added to what came in; ``cross``: the keys come from
    elsewhere."""

    def __init__(self, width: int, heads: int, cross: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.norm_keys = nn.LayerNorm(width) if cross else None
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, others: Tensor | None = None) -> Tensor:
        inner = self.norm(x)
        keys = inner if self.norm_keys is None or others is None else self.norm_keys(others)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self._projected(inner, keys))
        x = x + self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))
        return x + self.feed(x)

    def _projected(self, inner: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key, value = self.key_value(keys).chunk(2, -1)
        return self.query(inner), key, value
