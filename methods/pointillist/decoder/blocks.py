"""Two streams of tokens that attend to each other: the joint block of SD3 (Esser et al. 2024, "Scaling Rectified Flow
Transformers", section 4), which LAM takes over for points and image tokens.

SD3 scales and gates each part by the time of the diffusion. There is none here, so norms carry their own weights and
what a part gives is added as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, scaled_dot_product_attention

EPSILON = 1e-6
"""Of the norms, as in SD3."""


class HeadNorm(nn.RMSNorm):
    """Of queries and keys. Its weights follow the input's type, of which torch's fused kernel and the attention after
    it make a condition, and autocast nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Stream(nn.Module):
    """One stream's own half of a block: norms, projections and feed-forward. ``closing``: the stream is only looked at
    and not carried further, so that it needs neither queries nor what follows the attention."""

    def __init__(self, width: int, heads: int, closing: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.parts = 2 if closing else 3  # keys and values, and queries last
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.project = nn.Linear(width, self.parts * width)
        self.norm_key = HeadNorm(width // heads, eps=EPSILON)
        if not closing:
            self.norm_query = HeadNorm(width // heads, eps=EPSILON)
            self.out = nn.Linear(width, width)
            self.feed = nn.Sequential(
                nn.LayerNorm(width, eps=EPSILON),
                nn.Linear(width, 4 * width),
                nn.GELU(approximate="tanh"),
                nn.Linear(4 * width, width),
            )

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """(B, L, width) -> keys, values and queries, each (B, heads, L, width / heads); no queries where closing."""
        parts = self.project(self.norm(x)).unflatten(-1, (self.parts, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.norm_key(parts[0]), parts[1], self.norm_query(parts[2]) if self.parts == 3 else None

    def carried(self, x: Tensor, attended: Tensor) -> Tensor:
        """``x`` (B, L, width) after what it attended to (B, heads, L, width / heads), and its feed-forward."""
        x = x + self.out(attended.transpose(1, 2).flatten(-2))
        return x + self.feed(x)


class JointBlock(nn.Module):
    """Points (B, N, width) and image tokens (B, I, width), each with weights of its own, attend to all of both.

    ``last``: image tokens are still attended to, and come out as they went in: nothing reads them afterwards.
    """

    def __init__(self, width: int, heads: int, last: bool = False) -> None:
        super().__init__()
        self.points = Stream(width, heads)
        self.image = Stream(width, heads, closing=last)

    def forward(self, points: Tensor, image: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """``mask`` (B, 1, 1, N + I) bool, True where a token may be attended to; None where all may. It is broadcast
        over queries by torch's fused kernels: nothing here is (N, N)."""
        key, value, query = self.points.projected(points)
        image_key, image_value, image_query = self.image.projected(image)
        assert query is not None  # the points' stream never closes
        queries = query if image_query is None else torch.cat([query, image_query], 2)
        keys, values = torch.cat([key, image_key], 2), torch.cat([value, image_value], 2)
        attended = scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        count = points.shape[1]
        points = self.points.carried(points, attended[:, :, :count])
        return points, image if image_query is None else self.image.carried(image, attended[:, :, count:])
