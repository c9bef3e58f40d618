"""Which tokens can follow: DESIGN's rules on a sequence of points, as masks on logits."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarbench.methods.pointillist.tokenizer import BINDING, SLOTS, Vocabulary, X, Y


class Grammar(torch.nn.Module):
    """Coordinates or bindings by position, the end only at a point's start and then to its block's end, y never
    decreasing, at least one point. Positions count from a window's first token, which starts a point or a block."""

    by_slot: Tensor  # (4, V) bool: what a slot can hold at all

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = v = vocabulary
        allowed = torch.zeros(SLOTS, v.size, dtype=torch.bool)
        allowed[:BINDING, : v.levels] = True
        allowed[BINDING, v.levels : v.start] = True
        allowed[X, v.end] = True
        self.register_buffer("by_slot", allowed, persistent=False)

    def allowed(self, slot: int, floor: Tensor, ended: Tensor, first: Tensor) -> Tensor:
        """(B, V) bool for the next token at ``slot``. ``floor`` (B,): the last point's level of y, 0 before there is
        one; ``ended`` (B,) bool: an end token came; ``first`` (B,) bool: no point came yet."""
        v = self.vocabulary
        found = self.by_slot[slot].repeat(len(floor), 1)
        if slot == Y:
            found &= torch.arange(v.size, device=floor.device) >= floor[:, None]
        if slot == X:
            found[first, v.end] = False
        only_end = torch.zeros_like(self.by_slot[0])
        only_end[v.end] = True
        found[ended] = only_end
        return found

    def mask(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """``logits`` (B, T, V), of which those at t predict token t + 1, with minus infinity for what the grammar
        forbids after ``tokens`` (B, T). What follows an end or padding block is left alone: nothing is learnt there."""
        v = self.vocabulary
        count = tokens.shape[1]
        following = (torch.arange(count, device=tokens.device) + 1) % SLOTS
        allowed = self.by_slot[following].expand(len(tokens), -1, -1).clone()
        ended = (tokens == v.end) & (following != 0)
        allowed[ended] = False
        allowed[ended, v.end] = True
        started = tokens == v.start
        allowed[started & (following == 0), v.end] = False
        allowed[started & (following != 0)] = False
        allowed[started & (following != 0), v.start] = True
        at_y = torch.nonzero(following == Y)[:, 0]
        last = at_y - SLOTS + 1  # where the point before has its y
        known = last >= 0
        floor = tokens[:, last[known]]
        floor = torch.where(floor < v.levels, floor, 0)
        levels = torch.arange(v.levels, device=tokens.device)
        allowed[:, at_y[known], : v.levels] &= levels >= floor[..., None]
        over = (tokens == v.pad) | ((tokens == v.end) & (following == 0))
        allowed[over] = True
        return logits.masked_fill(~allowed, -torch.inf)
