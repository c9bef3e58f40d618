"""A trained transformer's weights, packed for stepping: one array a kind, all layers stacked."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from avatarbench.errors import UsageError
from avatarbench.methods.pointillist.stage_one import StageOne

KNOWN = {
    "TransformerWrapper",
    "TokenEmbedding",
    "Embedding",
    "Decoder",
    "RMSNorm",
    "Attention",
    "Attend",
    "FeedForward",
    "Linear",
    "GELU",
    "Dropout",
    "Identity",
    "Residual",
    "RotaryEmbedding",
    "Rearrange",
    "Sequential",
    "ModuleList",
    "ModuleDict",
}
"""Modules of x-transformers' decoder that a step here does the same as."""


class Weights(NamedTuple):
    """L layers, width W, H heads of D: A = H D; feed-forward parts F wide; V tokens. Linear weights are (out, in)."""

    embedding: Tensor  # (V, W)
    slot: Tensor  # (4, W); zeros where slots are not embedded
    self_norm: Tensor  # (L, W)
    qkv: Tensor  # (L, 3 A, W)
    self_out: Tensor  # (L, W, A)
    cross_norm: Tensor  # (L, W)
    cross_q: Tensor  # (L, A, W)
    cross_kv: Tensor  # (L, 2 A, W)
    cross_out: Tensor  # (L, W, A)
    feed_norm: Tensor  # (L, W)
    up: Tensor  # (L, F, W)
    up_bias: Tensor  # (L, F)
    down: Tensor  # (L, W, F)
    down_bias: Tensor  # (L, W)
    final_norm: Tensor  # (W,)
    head: Tensor  # (V, W)
    frequencies: Tensor  # (R / 2,) float32: of the R rotated dimensions of a head, pair by pair


class Packed(NamedTuple):
    """``cross_first``: cross-attention comes before self-attention in a layer."""

    weights: Weights
    heads: int
    cross_first: bool


def pack(model: StageOne, dtype: torch.dtype) -> Packed:
    """Copies on the model's device. Raises UsageError for an architecture that is stepped through otherwise."""
    t = model.config.transformer
    if t.architecture != "plain":
        raise UsageError(
            f"the engine generates with the plain architecture, and this model is {t.architecture}: set "
            "transformer.architecture to plain and train that."
        )
    wrapper: Any = model.transformer
    _refuse_unknown(wrapper)
    layers = list(wrapper.attn_layers.layers)
    parts: dict[str, list[tuple[Tensor, Any]]] = {"a": [], "c": [], "f": []}
    for kind, (norms, block, _) in zip(wrapper.attn_layers.layer_types, layers, strict=True):
        parts[kind].append((_gain(norms[0]), block))

    def stack(kind: str, *names: str) -> Tensor:
        return torch.stack([torch.cat([_get(block, name) for name in names]) for _, block in parts[kind]])

    def gains(kind: str) -> Tensor:
        return torch.stack([gain for gain, _ in parts[kind]])

    embedding = wrapper.token_emb.emb.weight
    slot = wrapper.embeds["slot_embed"].weight if t.slots else torch.zeros_like(embedding[:4])
    weights = Weights(
        embedding,
        slot,
        gains("a"),
        stack("a", "to_q", "to_k", "to_v"),
        stack("a", "to_out"),
        gains("c"),
        stack("c", "to_q"),
        stack("c", "to_k", "to_v"),
        stack("c", "to_out"),
        gains("f"),
        stack("f", "ff.0.0"),
        torch.stack([block.ff[0][0].bias for _, block in parts["f"]]),
        stack("f", "ff.2"),
        torch.stack([block.ff[2].bias for _, block in parts["f"]]),
        _gain(wrapper.attn_layers.final_norm),
        wrapper.to_logits.weight,
        wrapper.attn_layers.rotary_pos_emb.inv_freq,
    )
    copies = [tensor.detach().to(dtype, copy=True).contiguous() for tensor in weights[:-1]]
    frequencies = weights.frequencies.detach().float().clone()
    return Packed(Weights._make([*copies, frequencies]), t.heads, t.order == "caf")


def _gain(norm: Any) -> Tensor:
    """x-transformers learns a norm's gain as its difference from one."""
    return norm.g + float(norm.unit_offset)


def _get(block: nn.Module, name: str) -> Tensor:
    return block.get_submodule(name).get_parameter("weight")


def _refuse_unknown(wrapper: nn.Module) -> None:
    """x-transformers has many options; whatever one of them would add to a plain decoder is not stepped through."""
    strange = sorted({type(m).__name__ for m in wrapper.modules()} - KNOWN)
    layers: Any = wrapper.attn_layers
    kinds = "".join(layers.layer_types)
    if kinds.replace("acf", "").replace("caf", ""):
        strange.append(f"layers {kinds}")
    for norms, block, _ in layers.layers:
        if norms[0] is None or norms[1] is not None or norms[2] is not None:
            strange.append("norms that do not stand before their block")
        for option in ("qk_norm", "max_attend_past", "num_mem_kv", "to_v_gate", "to_v_head_gate"):
            if getattr(block, option, None):
                strange.append(option)
        if isinstance(getattr(block, "to_out", None), nn.Identity):
            strange.append("a single head without its output projection")
        if getattr(block, "kv_heads", None) != getattr(block, "heads", None):
            strange.append("shared key heads")
    expected = {name for name, _ in wrapper.named_parameters() if _is_known(name)}
    strange += sorted({name for name, _ in wrapper.named_parameters()} - expected)
    if strange:
        raise UsageError(f"the engine does not know how to step through {', '.join(dict.fromkeys(strange))}.")


def _is_known(name: str) -> bool:
    own = ("to_q.weight", "to_k.weight", "to_v.weight", "to_out.weight", "ff.0.0.weight", "ff.2.weight")
    return name.endswith(
        (*own, "ff.0.0.bias", "ff.2.bias", ".g", "emb.weight", "slot_embed.weight", "to_logits.weight")
    )
