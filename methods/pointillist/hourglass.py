"""The hourglass of supplement C (Nawrot et al. 2022; Meshtron, Hao et al. 2024): inner layers see a shorter sequence,
one place for every few tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from x_transformers import Decoder
from x_transformers.x_transformers import TokenEmbedding

from avatarbench.methods.pointillist.config import Transformer
from avatarbench.methods.pointillist.tokenizer import SLOTS


class Hourglass(nn.Module):
    """``tokens`` (B, T), ``context`` (B, C, width) -> states (B, T, width); ``to_logits`` makes logits of them.

    The layers fall into 2 n + 1 stacks for n factors, equally many each, and the rest into the innermost.
    """

    def __init__(self, config: Transformer, vocabulary: int) -> None:
        super().__init__()
        self.embed = TokenEmbedding(config.width, vocabulary)
        self.embed.init_()
        self.slots = nn.Embedding(SLOTS, config.width) if config.slots else None
        each, rest = divmod(config.depth, 2 * len(config.shorten) + 1)
        self.level: nn.Module = _stack(config, each + rest)
        for factor in reversed(config.shorten):
            self.level = Level(config, each, factor, self.level)
        self.to_logits = nn.Linear(config.width, vocabulary, bias=False)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        x = self.embed(tokens)
        if self.slots is not None:
            x = x + self.slots(torch.arange(tokens.shape[1], device=tokens.device) % SLOTS)
        return self.level(x, context=context)


class Level(nn.Module):
    """``before``, a shorter sequence through ``inner``, ``after``: (B, T, width) -> the same shape.

    Every ``factor`` places, the last of which ends a group, become one. What ``inner`` makes of a group is added first
    at the group's last place, which has seen all of it, and at the factor - 1 places that follow: no place is told of
    a later one.
    """

    def __init__(self, config: Transformer, depth: int, factor: int, inner: nn.Module) -> None:
        super().__init__()
        self.factor = factor
        self.before = _stack(config, depth, ends=False)
        self.shorten = nn.Linear(factor * config.width, config.width)
        self.inner = inner
        self.lengthen = nn.Linear(config.width, factor * config.width)
        self.after = _stack(config, depth)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = self.before(x, context=context)
        length = x.shape[1]
        groups = length // self.factor  # places after the last whole group are told of the groups before
        if groups:
            short = self.shorten(x[:, : groups * self.factor].unflatten(1, (groups, self.factor)).flatten(2))
            long = self.lengthen(self.inner(short, context=context)).unflatten(2, (self.factor, -1)).flatten(1, 2)
            x = x + pad(long, (0, 0, self.factor - 1, 0))[:, :length]
        return self.after(x, context=context)


def _stack(config: Transformer, depth: int, ends: bool = True) -> nn.Module:
    """x-transformers' layers. ``ends``: with a norm after the last one."""
    return Decoder(
        dim=config.width,
        depth=depth,
        heads=config.heads,
        attn_dim_head=config.head_width,
        cross_attend=True,
        custom_layers=tuple(config.order) * depth,
        rotary_pos_emb=True,
        use_rmsnorm=True,
        attn_flash=True,
        ff_dropout=config.dropout,
        pre_norm_has_final_norm=ends,
    )
