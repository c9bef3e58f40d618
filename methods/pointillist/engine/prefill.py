"""A window's first tokens, all at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from avatarbench.methods.pointillist.engine.weights import Packed, Weights
from avatarbench.methods.pointillist.tokenizer import SLOTS

Store = Callable[[int, Tensor, Tensor], None]
"""Takes a layer's number, and its keys, rotated, and values (H, T, D)."""


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(..., T, H D) -> (..., H, T, D)."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def rms_norm(x: Tensor, gain: Tensor) -> Tensor:
    """x-transformers' RMSNorm, which has no epsilon but the least norm that it divides by."""
    return (functional.normalize(x.float(), dim=-1) * x.shape[-1] ** 0.5 * gain.float()).to(x.dtype)


def rotated(x: Tensor, positions: Tensor, frequencies: Tensor) -> Tensor:
    """``x`` (..., T, D), its first dimensions turned pair by pair as x-transformers does it, at ``positions`` (T,)."""
    angles = positions.to(frequencies.dtype)[:, None] * frequencies
    cosine, sine = angles.cos(), angles.sin()
    pairs = x[..., : 2 * len(frequencies)].float().unflatten(-1, (-1, 2))
    one, other = pairs[..., 0], pairs[..., 1]
    turned = torch.stack([one * cosine - other * sine, other * cosine + one * sine], -1).flatten(-2)
    return torch.cat([turned.to(x.dtype), x[..., 2 * len(frequencies) :]], -1)


def cross_keys(packed: Packed, context: Tensor) -> tuple[Tensor, Tensor]:
    """``context`` (C, W) of one subject -> its keys and values (L, H, C, D) in every layer."""
    weight = packed.weights.cross_kv
    keys, values = torch.einsum("cw,law->lca", context.to(weight), weight).chunk(2, -1)
    return split_heads(keys, packed.heads).contiguous(), split_heads(values, packed.heads).contiguous()


def prefill(packed: Packed, tokens: Tensor, cross: tuple[Tensor, Tensor], store: Store) -> Tensor:
    """``tokens`` (T,) of one subject, from a point's start -> states (T, W); ``cross`` of :func:`cross_keys`.

    One subject at a time, since a product's last bits can depend on how many rows it has.
    """
    w = packed.weights
    places = torch.arange(len(tokens), device=tokens.device)
    x = w.embedding[tokens] + w.slot[places % SLOTS]
    for layer in range(len(w.qkv)):
        if packed.cross_first:
            x = x + _cross(w, layer, x, cross)
        q, k, v = (
            split_heads(part, packed.heads)
            for part in functional.linear(rms_norm(x, w.self_norm[layer]), w.qkv[layer]).chunk(3, -1)
        )
        q, k = rotated(q, places, w.frequencies), rotated(k, places, w.frequencies)
        store(layer, k, v)
        seen = functional.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]
        x = x + functional.linear(seen.transpose(0, 1).flatten(1), w.self_out[layer])
        if not packed.cross_first:
            x = x + _cross(w, layer, x, cross)
        up = functional.linear(rms_norm(x, w.feed_norm[layer]), w.up[layer], w.up_bias[layer])
        x = x + functional.linear(functional.gelu(up), w.down[layer], w.down_bias[layer])
    return rms_norm(x, w.final_norm)


def _cross(w: Weights, layer: int, x: Tensor, cross: tuple[Tensor, Tensor]) -> Tensor:
    keys, values = cross[0][layer], cross[1][layer]
    q = split_heads(functional.linear(rms_norm(x, w.cross_norm[layer]), w.cross_q[layer]), len(keys))
    seen = functional.scaled_dot_product_attention(q[None], keys[None], values[None])[0]
    return functional.linear(seen.transpose(0, 1).flatten(1), w.cross_out[layer])
