"""Cross-entropy on the next token, computed a slot at a time: a coordinate's logits are made of coordinates alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from avatarbench.methods.pointillist.tokenizer import BINDING, SLOTS, Vocabulary, X, Y, Z

KINDS = ("x", "y", "z", "binding", "end")
"""What a token is; the first four are slots too. An end token is one where a point could have stood."""
END = 4
NOTHING = -100


class Slot(NamedTuple):
    """What predicts one slot of every point: ``logits`` (B, N, C) over the ``whole`` vocabulary or, masked, over
    what the grammar allows there: levels, for x the end token as well, or faces. ``targets`` (B, N) in the vocabulary;
    ``asked`` (B, N) bool: neither start nor padding follows."""

    slot: int
    logits: Tensor
    whole: bool
    targets: Tensor
    asked: Tensor


class Sums(NamedTuple):
    """Over the asked tokens of a batch. ``loss``: what is minimised; ``entropy`` (5,): plain cross-entropy, nats, by
    kind; ``counts`` (5,): tokens, by kind; ``asked``: tokens, those too that the grammar leaves no choice for."""

    loss: Tensor
    entropy: Tensor
    counts: Tensor
    asked: Tensor


def slots(
    states: Tensor, head: nn.Linear, vocabulary: Vocabulary, tokens: Tensor, following: Tensor, grammar: bool
) -> Iterator[Slot]:
    """Of ``states`` (B, T, width) after ``tokens`` (B, T), T a multiple of 4, a window's. With ``grammar`` the logits
    are those of :meth:`avatarbench.methods.pointillist.grammar.Grammar.mask` where they are finite; the columns that it
    forbids everywhere in a slot are not made at all."""
    v = vocabulary
    asked = (following != v.pad) & (following != v.start)
    levels = torch.arange(v.levels, device=states.device)
    before = following[:, 0::SLOTS].roll(1, 1)  # the point before has its y here
    before = torch.where(before < v.levels, before, 0)
    before[:, 0] = 0
    for place in range(SLOTS):
        slot = (place + 1) % SLOTS
        at = slice(place, None, SLOTS)
        targets, here = following[:, at], asked[:, at]
        if not grammar:
            logits = nn.functional.linear(states[:, at], head.weight).float()
            yield Slot(slot, logits, True, targets, here)
        elif slot == BINDING:
            logits = nn.functional.linear(states[:, at], head.weight[v.levels : v.start]).float()
            yield Slot(slot, logits, False, targets, here)
        elif slot == X:
            weight = torch.cat([head.weight[: v.levels], head.weight[v.end : v.end + 1]])
            logits = nn.functional.linear(states[:, at], weight).float()
            only_points = nn.functional.pad((tokens[:, at] == v.start)[..., None], (v.levels, 0))
            yield Slot(slot, logits.masked_fill(only_points, -torch.inf), False, targets, here)
        else:
            logits = nn.functional.linear(states[:, at], head.weight[: v.levels]).float()
            if slot == Y:
                logits = logits.masked_fill(levels < before[..., None], -torch.inf)
            yield Slot(slot, logits, False, targets, here)


def columns(slot: Slot, vocabulary: Vocabulary) -> Tensor:
    """(B, N) the target's column of the slot's logits; :data:`NOTHING` where none is asked for or the grammar leaves no
    choice."""
    v, targets = vocabulary, slot.targets
    if slot.whole:
        return torch.where(slot.asked, targets, NOTHING)
    if slot.slot == X:
        return torch.where(slot.asked, torch.where(targets == v.end, v.levels, targets), NOTHING)
    first = v.levels if slot.slot == BINDING else 0
    return torch.where(slot.asked & (targets != v.end), targets - first, NOTHING)


def kinds(slot: Slot, vocabulary: Vocabulary) -> Tensor:
    """(B, N) index into :data:`KINDS` of what is asked, or the number of kinds where nothing is, and for the end tokens
    that only complete a block."""
    end = slot.targets == vocabulary.end
    kind = torch.where(end, END if slot.slot == X else len(KINDS), slot.slot)
    return torch.where(slot.asked, kind, len(KINDS))


def sums(
    states: Tensor,
    head: nn.Linear,
    vocabulary: Vocabulary,
    tokens: Tensor,
    following: Tensor,
    grammar: bool = True,
    smooth: float = 0.0,
) -> Sums:
    """The cross-entropy of a batch. ``smooth``: standard deviation, in levels, of a Gaussian that softens the target of
    x and of z, as far as the grammar allows its neighbours; bindings and ends stay as they are, and y does: it rises by
    less than a level a point and never falls, so what is added to it adds up along the sequence."""
    total = states.new_zeros((), dtype=torch.float32)
    entropy = torch.zeros(len(KINDS) + 1, device=states.device)
    counts = torch.zeros(len(KINDS) + 1, device=states.device)
    for slot in slots(states, head, vocabulary, tokens, following, grammar):
        target = columns(slot, vocabulary)
        known = target != NOTHING
        at = torch.where(known, target, 0)[..., None]
        logs = slot.logits.log_softmax(-1)
        plain = torch.where(known, -logs.gather(-1, at)[..., 0], 0.0)
        loss = plain
        if smooth and slot.slot in (X, Z):
            soft = known & (slot.targets < vocabulary.levels)
            loss = torch.where(soft, _softened(logs, at, vocabulary.levels, smooth), plain)
        total = total + loss.sum()
        kind = kinds(slot, vocabulary).reshape(-1)
        entropy = entropy.index_add(0, kind, plain.detach().reshape(-1))
        counts = counts.index_add(0, kind, slot.asked.reshape(-1).float())
    return Sums(total, entropy[:-1], counts[:-1], counts.sum())


def _softened(logs: Tensor, at: Tensor, levels: int, smooth: float) -> Tensor:
    """(B, N) cross-entropy of log-probabilities (B, N, C) with a Gaussian about the levels ``at`` (B, N, 1)."""
    reach = max(1, round(4 * smooth))
    offsets = torch.arange(-reach, reach + 1, device=logs.device)
    near = at + offsets
    there = (near >= 0) & (near < levels)
    weights = torch.exp(-0.5 * (offsets / smooth) ** 2) * there
    weights = weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)  # an end is no level and has none near it
    return -(weights * torch.where(there, logs.gather(-1, near.clamp(0, levels - 1)), 0.0)).sum(-1)
