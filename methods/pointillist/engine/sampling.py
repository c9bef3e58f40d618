"""The next token of one subject: the grammar's span, temperature, top-k, top-p, and one uniform number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.tokenizer import BINDING, SLOTS, Vocabulary, X, Y

BLOCK = 4096
Array = TypeVar("Array", NDArray[np.float32], Tensor)


class Draws:
    """A subject's uniform numbers in [0, 1), float64, one a token: the same ones however many are taken at once."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._left = np.empty(0)

    def take(self, count: int) -> NDArray[np.float64]:
        while len(self._left) < count:
            fresh = torch.rand(BLOCK, dtype=torch.float64, generator=self._generator).numpy()
            self._left = np.concatenate([self._left, fresh])
        taken, self._left = self._left[:count], self._left[count:]
        return taken


class Span(NamedTuple):
    """A slot's tokens that can be sampled: [low, high), and the end token where ``end``."""

    low: int
    high: int
    end: bool


def spans(vocabulary: Vocabulary, grammar: bool) -> Sequence[Span]:
    """By slot. Without the grammar, the whole vocabulary."""
    v = vocabulary
    if not grammar:
        return [Span(0, v.size, False)] * SLOTS
    levels, bindings = Span(0, v.levels, False), Span(v.levels, v.start, False)
    return [levels._replace(end=slot == X) if slot != BINDING else bindings for slot in range(SLOTS)]


class Rules:
    """What the sequences of N subjects have come to, for the grammar (the same as ``Grammar.allowed``, slot by slot).

    ``floor``: the last point's level of y; ``ended``: an end token came; ``first``: no point came yet.
    """

    def __init__(self, vocabulary: Vocabulary, grammar: bool, count: int) -> None:
        self.vocabulary, self.grammar = vocabulary, grammar
        self.spans = spans(vocabulary, grammar)
        self.floor, self.ended = np.zeros(count, np.int64), np.zeros(count, bool)
        self.first = np.ones(count, bool)

    def choose(self, n: int, slot: int, logits: NDArray[np.float32], draw: float, options: Generate) -> int:
        """``logits`` (high - low + end,) of the slot's span, the end token's last."""
        v, span = self.vocabulary, self.spans[slot]
        if self.grammar and self.ended[n]:
            return v.end
        skipped = 0
        if self.grammar and slot == Y:
            skipped = int(self.floor[n])
            logits = logits[skipped:]
        if span.end and self.first[n]:
            logits = logits[:-1]
        token = span.low + skipped + sample(logits, draw, options)
        token = v.end if span.end and token == span.high else token
        if token == v.end:
            self.ended[n] = True
        elif slot == Y:
            self.floor[n] = token
        elif slot == BINDING:
            self.first[n] = False
        return token

    def snapshot(self) -> tuple[NDArray[np.generic], ...]:
        return self.floor.copy(), self.ended.copy(), self.first.copy()

    def restore(self, rows: NDArray[np.int64], snapshot: tuple[NDArray[np.generic], ...]) -> None:
        """``rows`` (M,) are again as they were at ``snapshot``."""
        for now, then in zip((self.floor, self.ended, self.first), snapshot, strict=True):
            now[rows] = then[rows]

    def keep(self, going: NDArray[np.bool_]) -> None:
        self.floor, self.ended, self.first = self.floor[going], self.ended[going], self.first[going]


def guided(logits: Array, own: int, guidance: float) -> Array:
    """(N, V) -> (``own``, V): of rows that all count, themselves; of twice as many, the second half told nothing of its
    subjects, ``guidance`` times the way from those to the first (Ho and Salimans 2021, in logits)."""
    if len(logits) == own:
        return logits
    told, blank = logits[:own], logits[own : 2 * own]
    found: Array = blank + guidance * (told - blank)
    return found


def sample(logits: NDArray[np.float32], draw: float, options: Generate) -> int:
    """An index of ``logits`` by the inverse of the cumulated probabilities at ``draw`` in [0, 1), in float64.

    Temperature first, 0 for the likeliest; then the ``top_k`` likeliest, ties to the lower index; then the fewest of
    these that hold ``top_p`` of their probability. Raises DataError for logits that are not finite.
    """
    most = logits.max()
    if not np.isfinite(most):
        raise DataError("the model's logits are not finite: its weights are damaged, or training diverged.")
    if options.temperature == 0:
        return int(logits.argmax())
    chances = np.exp((logits.astype(np.float64) - float(most)) / options.temperature)
    if options.top_k is not None and options.top_k < len(chances):
        chances[np.argsort(-chances, kind="stable")[options.top_k :]] = 0
    if options.top_p < 1:
        order = np.argsort(-chances, kind="stable")
        held = np.cumsum(chances[order])
        chances[order[np.searchsorted(held, options.top_p * held[-1]) + 1 :]] = 0
    held = np.cumsum(chances)
    found = np.searchsorted(held, draw * held[-1], side="right")
    return int(min(found, np.searchsorted(held, held[-1])))


def sample_rows(logits: Tensor, draws: Tensor, options: Generate) -> Tensor:
    """:func:`sample` of every row, on the device: ``logits`` (N, V), minus infinity for what is forbidden, and
    ``draws`` (N,) -> (N,)."""
    if options.temperature == 0:
        return logits.argmax(1)
    logits = logits.double()
    chances = ((logits - logits.amax(1, keepdim=True)) / options.temperature).exp()
    if options.top_k is not None and options.top_k < logits.shape[1]:
        order = chances.sort(dim=1, descending=True, stable=True).indices
        chances = chances.scatter(1, order[:, options.top_k :], 0)
    if options.top_p < 1:
        order = chances.sort(dim=1, descending=True, stable=True).indices
        held = chances.gather(1, order).cumsum(1)
        enough = functional.pad(held[:, :-1] >= options.top_p * held[:, -1:], (1, 0))
        chances = chances.masked_fill(torch.zeros_like(enough).scatter(1, order, enough), 0)
    held = chances.cumsum(1)
    total = held[:, -1:]
    found = (held <= draws[:, None] * total).sum(1)
    return torch.minimum(found, (held < total).sum(1))
