"""Truncated training (paper section 5.1): a long sequence is learnt in windows, and which come when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from avatarbench.methods.pointillist.config import Window
from avatarbench.methods.pointillist.training.seeds import generator_at


class Cut(NamedTuple):
    """``tokens`` (L,) and what follows each of them, ``following`` (L,): padding after the sequence's end."""

    tokens: Tensor
    following: Tensor


def starts(length: int, window: Window) -> range:
    """Where the windows of a sequence of ``length`` tokens begin: every ``step``, until one reaches the end.
    Multiples of 4, so that every window begins with a point or a block of special tokens."""
    beyond = max(0, length - window.length)
    return range(0, -(-beyond // window.step) * window.step + 1, window.step)


def cut(sequence: Tensor, start: int, length: int, pad: int) -> Cut:
    """The window of ``length`` tokens from ``start`` of a whole ``sequence`` (T,)."""
    found = torch.full((length + 1,), pad)
    part = sequence[start : start + length + 1]
    found[: len(part)] = part
    return Cut(found[:-1], found[1:])


class Order:
    """Which (person, window) is the n-th to be learnt: every one once an epoch, each epoch in an order of its own.

    ``counts``: windows of each person.
    """

    def __init__(self, counts: Sequence[int], seed: int) -> None:
        self._pairs = [(person, window) for person, count in enumerate(counts) for window in range(count)]
        self._seed = seed
        self._epoch = -1
        self._drawn: list[int] = []

    def __len__(self) -> int:
        """Windows of an epoch."""
        return len(self._pairs)

    def __getitem__(self, n: int) -> tuple[int, int]:
        """``n`` runs on over all epochs."""
        epoch, place = divmod(n, len(self._pairs))
        if epoch != self._epoch:
            self._drawn = torch.randperm(len(self._pairs), generator=generator_at(self._seed, "order", epoch)).tolist()
            self._epoch = epoch
        return self._pairs[self._drawn[place]]
