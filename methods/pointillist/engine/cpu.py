"""Stepping on a CPU: the compiled kernels over torch's memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.gaussians.cpu import _as_many_threads_as_torch
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.engine import kernels
from avatarbench.methods.pointillist.engine.prefill import cross_keys, prefill
from avatarbench.methods.pointillist.engine.sampling import Rules, guided
from avatarbench.methods.pointillist.engine.weights import Packed, Weights
from avatarbench.methods.pointillist.engine.window import Window
from avatarbench.methods.pointillist.tokenizer import SLOTS


class CpuStepper:
    """S subjects, of which those of ``rows`` still go on. ``context`` (S, C, W)."""

    points_at_once = 1

    def __init__(self, packed: Packed, context: Tensor, window: Window, rules: Rules, options: Generate) -> None:
        _as_many_threads_as_torch()
        self.packed, self.window, self._rules, self._options = packed, window, rules, options
        w = packed.weights
        self._weights: Any = Weights._make(t.numpy() for t in w)
        layers, across = w.qkv.shape[0], w.cross_q.shape[1]
        self._cross = [cross_keys(packed, one) for one in context]
        cross = [torch.stack(tensors, 1).numpy() for tensors in zip(*self._cross, strict=True)]
        ring = (layers, len(context), packed.heads, window.capacity, across // packed.heads)
        self._caches = kernels.Caches(np.zeros(ring, np.float32), np.zeros(ring, np.float32), *cross)
        self._take(np.arange(len(context)))

    def keep(self, going: NDArray[np.bool_]) -> None:
        """Goes on with those of the N rows that ``going`` (N,) names."""
        states = self._states[going]
        self._rules.keep(going)
        self._take(self.rows[going])
        self._states[:] = states

    def _take(self, rows: NDArray[np.int64]) -> None:
        self.rows = rows
        w, places = self.packed.weights, max(self._caches.keys.shape[3], self._caches.cross_keys.shape[3])
        self._work = kernels.workspace(
            len(rows), w.qkv.shape[2], self.packed.heads, self._caches.keys.shape[4], w.up.shape[1], places
        )
        self._states = np.zeros((len(rows), w.qkv.shape[2]), np.float32)

    def begin(self, tokens: Tensor) -> Tensor:
        """A first window that starts with ``tokens`` (N, T) -> their states (N, T, W)."""
        states = self._fill(tokens)
        self._states[:] = states[:, -1].numpy()
        return states

    def refill(self, tokens: Tensor) -> None:
        """A new window that starts with ``tokens`` (N, T), the last ones of the old, which still predicts the next."""
        self._fill(tokens)

    def _fill(self, tokens: Tensor) -> Tensor:
        states = []
        count = tokens.shape[1]
        for row, own in zip(self.rows, tokens, strict=True):
            states.append(prefill(self.packed, own, self._cross[row], partial(self._store, row)))
        self.window.position = count
        return torch.stack(states)

    def _store(self, row: int, layer: int, keys: Tensor, values: Tensor) -> None:
        self._caches.keys[layer, row, :, : keys.shape[1]] = keys.numpy()
        self._caches.values[layer, row, :, : keys.shape[1]] = values.numpy()

    def feed(self, tokens: Tensor) -> Tensor:
        """One token (N,) each -> states (N, W)."""
        return torch.from_numpy(self._step(tokens.contiguous().numpy()).copy())

    def logits(self) -> Tensor:
        """(N, V): what the last states say."""
        return torch.from_numpy(self._logits(0, len(self._weights.head)))

    def points(self, draws: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Samples and feeds as many tokens as ``draws`` (N, T) has, from a point's start: these tokens (N, T), and the
        states that predicted them (N, T, W). With half as many draws as rows, the other rows are :func:`guided` 's."""
        _as_many_threads_as_torch()
        if self._options.spacing:
            self._before = self.window.position, self._states.copy(), self._rules.snapshot()
        return self._sampled(np.arange(len(draws)), draws)

    def again(self, which: NDArray[np.bool_], draws: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """As :class:`Stepper` has it. The rows that are not named are not touched, nor waited for."""
        _as_many_threads_as_torch()
        own = np.flatnonzero(which)
        chosen = np.flatnonzero(np.resize(which, len(self.rows)))  # with those that guide
        everything = self.rows, self._work, self._states
        self.window.position, states, rules = self._before
        self.rows, self._work = self.rows[chosen], kernels.first_rows(self._work, len(chosen))
        self._states = states[chosen]
        self._rules.restore(own, rules)
        found, redrawn = self._sampled(own, draws), self._states
        self.rows, self._work, self._states = everything
        self._states[chosen] = redrawn
        return found

    def _sampled(self, own: NDArray[np.int64], draws: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """``own`` (N,): the rules' rows of the first N of ``rows``."""
        count = draws.shape[1]
        tokens = np.empty((len(own), count), np.int64)
        states = np.empty((len(own), count, self._states.shape[1]), np.float32)
        for t in range(count):
            states[:, t] = self._states[: len(own)]
            logits = guided(self._of_span(t % SLOTS), len(own), self._options.guidance)
            for n, row in enumerate(own):
                tokens[n, t] = self._rules.choose(int(row), t % SLOTS, logits[n], draws[n, t], self._options)
            self._step(np.resize(tokens[:, t], len(self.rows)))
        return torch.from_numpy(tokens), torch.from_numpy(states)

    def _step(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """The states (N, W) are overwritten by the next step."""
        spot = self.window.advance()
        first = self.packed.cross_first
        slot = spot.position % SLOTS
        w, c = self._weights, self._caches
        kernels.step(w, first, c, self.rows, tokens, slot, *spot, self._work, self._states)
        return self._states

    def _logits(self, low: int, high: int) -> NDArray[np.float32]:
        out = np.empty((len(self.rows), high - low), np.float32)
        kernels.linear(self._states, self._weights.head[low:high], self._work.none, out, kernels.ASSIGN)
        return out

    def _of_span(self, slot: int) -> NDArray[np.float32]:
        low, high, end = self._rules.spans[slot]
        if not end:
            return self._logits(low, high)
        last = self._rules.vocabulary.end
        return np.concatenate([self._logits(low, high), self._logits(last, last + 1)], 1)
