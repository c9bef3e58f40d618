"""Which tokens can follow: the rules of methods/pointillist/README.md on a sequence of points, as masks."""

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
        forbids after ``tokens`` (B, T). What follows an end or padding block is left alone: nothing is learnt there.

        A window that does not begin with the start block does not know the point before it: its first y is free.
        """
        return self.mask_(logits.clone(), tokens)

    def mask_(self, logits: Tensor, tokens: Tensor) -> Tensor:
        """:meth:`mask` in place: nothing as large as the logits is made beside them, where no gradient is asked for."""
        v = self.vocabulary
        free = tokens >= v.start  # special tokens have rules of their own
        for slot in range(SLOTS):
            at = slice((slot - 1) % SLOTS, None, SLOTS)  # the tokens that this slot follows
            part, ruled = logits[:, at], ~free[:, at, None]
            if slot == BINDING:
                part[..., : v.levels].masked_fill_(ruled, -torch.inf)
                part[..., v.start :].masked_fill_(ruled, -torch.inf)
            else:
                last = v.end if slot == X else v.size
                part[..., v.levels : last].masked_fill_(ruled, -torch.inf)
                part[..., last + 1 :].masked_fill_(ruled, -torch.inf)
        # Of the last point's y, three tokens before the x that a y follows.
        floor = tokens[:, Y : tokens.shape[1] - SLOTS + Y : SLOTS]
        later = logits[:, SLOTS::SLOTS, : v.levels]
        floor = torch.where(floor < v.levels, floor, 0)[:, : later.shape[1], None]
        ruled = ~free[:, SLOTS::SLOTS, None]
        later.masked_fill_(ruled & (torch.arange(v.levels, device=tokens.device) < floor), -torch.inf)
        block = (torch.arange(tokens.shape[1], device=tokens.device) + 1) % SLOTS != 0  # within a block
        self._only(logits, (tokens == v.end) & block, v.end)
        self._only(logits, (tokens == v.start) & block, v.start)
        first = torch.nonzero((tokens == v.start) & ~block)
        logits[first[:, 0], first[:, 1], v.levels :] = -torch.inf
        return logits

    @staticmethod
    def _only(logits: Tensor, rows: Tensor, token: int) -> None:
        """Forbid all but ``token`` in ``rows`` (B, T) bool, of which there are a few."""
        found = torch.nonzero(rows)
        logits[found[:, 0], found[:, 1], :token] = -torch.inf
        logits[found[:, 0], found[:, 1], token + 1 :] = -torch.inf
