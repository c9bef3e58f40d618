"""Stepping by tensor operations on buffers that stay where they are: on CUDA, a point's four tokens are one captured
graph, sampled on the device, so that the host waits once in many points.

Every product has ``ROWS`` rows, whatever the number of subjects, and attention runs subject by subject: the same
kernels on the same shapes for any batch.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.engine.prefill import cross_keys, prefill
from avatarbench.methods.pointillist.engine.sampling import Rules, guided, sample_rows
from avatarbench.methods.pointillist.engine.weights import Packed
from avatarbench.methods.pointillist.engine.window import ROWS, Window
from avatarbench.methods.pointillist.tokenizer import BINDING, SLOTS, Y

SPLIT = 256
"""Places that one product of the attention takes: a head's are summed in as many parts, side by side."""
NONE = -1
BUCKET = 8
"""Splits by which the graphs differ: no step reads more of the ring than that beyond what is filled."""


class TensorStepper:
    """S subjects, at most ``ROWS``, of which those of ``rows`` still go on. ``context`` (S, C, W)."""

    points_at_once = 16

    def __init__(self, packed: Packed, context: Tensor, window: Window, rules: Rules, options: Generate) -> None:
        self.packed, self.window, self._options = packed, window, options
        self._vocabulary, self._grammar, self._spans = rules.vocabulary, rules.grammar, rules.spans
        w = packed.weights
        device, dtype = w.head.device, w.head.dtype
        self.rows = np.arange(len(context))
        self._cross = [cross_keys(packed, one) for one in context]
        layers, head_width = w.qkv.shape[0], w.cross_q.shape[1] // packed.heads
        splits = -(-window.capacity // SPLIT)
        ring = (layers, len(context), splits, packed.heads, SPLIT, head_width)
        self._keys, self._values = (
            torch.zeros(ring, dtype=dtype, device=device),
            torch.zeros(ring, dtype=dtype, device=device),
        )
        self._states = torch.zeros(ROWS, w.head.shape[1], dtype=dtype, device=device)
        self._position = torch.zeros(1, dtype=torch.long, device=device)
        self._places = torch.arange(splits * SPLIT, device=device)
        self._floor = torch.zeros(ROWS, dtype=torch.long, device=device)
        self._ended, self._broken = (torch.zeros(ROWS, dtype=torch.bool, device=device) for _ in range(2))
        self._first = torch.ones(ROWS, dtype=torch.bool, device=device)
        most = SLOTS * self.points_at_once
        self._at = torch.zeros(1, dtype=torch.long, device=device)  # which of the call's tokens comes next
        self._draws = torch.zeros(ROWS, most, dtype=torch.float64, device=device)
        self._tokens = torch.zeros(ROWS, most, dtype=torch.long, device=device)
        self._told = torch.zeros(ROWS, most, w.head.shape[1], dtype=dtype, device=device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._forced = torch.full((ROWS, SLOTS), NONE, dtype=torch.long, device=device)
        self._own = len(context)  # rows that are drawn for; where there are more, those guide

    def keep(self, going: NDArray[np.bool_]) -> None:
        """Goes on with those of the N rows that ``going`` (N,) names."""
        chosen = torch.from_numpy(np.flatnonzero(going)).to(self._states.device)
        self.rows = self.rows[going]
        self._cross = [cross for cross, stays in zip(self._cross, going, strict=True) if stays]
        self._graphs.clear()  # they read the memory that is given back here
        self._keys, self._values = self._keys[:, chosen], self._values[:, chosen]
        for buffer in (self._states, self._floor, self._ended, self._first):
            buffer[: len(chosen)] = buffer[chosen]

    def begin(self, tokens: Tensor) -> Tensor:
        """A first window that starts with ``tokens`` (N, T) -> their states (N, T, W)."""
        states = self._fill(tokens)
        self._states[: len(states)] = states[:, -1]
        return states

    def refill(self, tokens: Tensor) -> None:
        """A new window that starts with ``tokens`` (N, T), the last ones of the old, which still predicts the next."""
        self._fill(tokens)

    def _fill(self, tokens: Tensor) -> Tensor:
        states = []
        count = tokens.shape[1]
        for row, own in enumerate(tokens):
            states.append(prefill(self.packed, own, self._cross[row], partial(self._store, row)))
        self.window.position = count
        self._position.fill_(count)
        return torch.stack(states)

    def _store(self, row: int, layer: int, keys: Tensor, values: Tensor) -> None:
        for ring, found in ((self._keys, keys), (self._values, values)):
            for split, part in enumerate(found.split(SPLIT, 1)):
                ring[layer, row, split, :, : part.shape[1]] = part

    def feed(self, tokens: Tensor) -> Tensor:
        """One token (N,) each -> states (N, W)."""
        spot = self.window.advance()
        padded = functional.pad(tokens.to(self._states.device), (0, ROWS - len(tokens)))
        self._feed(padded, spot.position % SLOTS, self._bucket(spot.position))
        return self._states[: len(tokens)].clone()

    def logits(self) -> Tensor:
        """(N, V): what the last states say."""
        return functional.linear(self._states, self.packed.weights.head)[: len(self.rows)].float()

    def points(self, draws: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Samples and feeds as many tokens as ``draws`` (N, T) has, from a point's start: these tokens (N, T), and the
        states that predicted them (N, T, W). With half as many draws as rows, the other rows are :func:`guided` 's.
        Raises DataError where the logits were not finite."""
        rows, count = draws.shape
        self._own = rows
        self._draws[:rows, :count] = torch.from_numpy(draws).to(self._draws.device)
        self._at.zero_()
        if self._options.spacing:
            self._before = self.window.position, *(buffer.clone() for buffer in self._following())
        for _ in range(count // SLOTS):
            self._run(self._bucket(self.window.position + SLOTS - 1))
            for _ in range(SLOTS):
                self.window.advance()
        if bool(self._broken[:rows].any()):
            raise DataError("the model's logits are not finite: its weights are damaged, or training diverged.")
        return self._tokens[:rows, :count].clone(), self._told[:rows, :count].clone()

    def again(self, which: NDArray[np.bool_], draws: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """As :class:`Stepper` has it. All rows take the point anew, those that are not named with the same tokens."""
        chosen = torch.from_numpy(np.flatnonzero(which)).to(self._states.device)
        self.window.position, *before = self._before
        for buffer, then in zip(self._following(), before, strict=True):
            buffer.copy_(then)
        self._at.zero_()
        own = len(which)
        self._forced[:own] = self._tokens[:own, :SLOTS]
        self._forced[chosen] = NONE
        self._draws[chosen, :SLOTS] = torch.from_numpy(draws).to(self._draws.device)
        self._run(self._bucket(self.window.position + SLOTS - 1))
        self._forced.fill_(NONE)
        for _ in range(SLOTS):
            self.window.advance()
        return self._tokens[chosen, :SLOTS].clone(), self._told[chosen, :SLOTS].clone()

    def _following(self) -> tuple[Tensor, ...]:
        """What a step leaves to the next one, but for the ring, whose newest places are overwritten."""
        return self._states, self._position, self._floor, self._ended, self._first

    def _bucket(self, position: int) -> int:
        """Splits of the ring that a token at ``position`` can see, rounded up."""
        splits = min(position, self.window.capacity - 1) // SPLIT + 1
        return min(-(-splits // BUCKET) * BUCKET, self._keys.shape[2])

    def _run(self, splits: int) -> None:
        if not self._states.is_cuda:
            self._point(splits)
        elif splits in self._graphs:
            self._graphs[splits].replay()
        else:  # this point eagerly, which also sets up what a capture may not; capturing runs nothing
            side, here = torch.cuda.Stream(), torch.cuda.current_stream()
            side.wait_stream(here)
            with torch.cuda.stream(side):
                self._point(splits)
            here.wait_stream(side)
            self._graphs[splits] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graphs[splits]):
                self._point(splits)

    def _point(self, splits: int) -> None:
        """Samples and feeds the four tokens of every row's next point."""
        for slot in range(SLOTS):
            self._told.index_copy_(1, self._at, self._states[:, None])
            tokens = self._choose(slot)
            self._tokens.index_copy_(1, self._at, tokens[:, None])
            self._feed(tokens, slot, splits)
            self._at += 1

    def _choose(self, slot: int) -> Tensor:
        """(ROWS,) tokens by the grammar and the draws, as :class:`Rules` has it."""
        head, v = self.packed.weights.head, self._vocabulary
        low, high, end = self._spans[slot]
        logits = functional.linear(self._states, head[low:high]).float()
        if end:
            logits = torch.cat([logits, functional.linear(self._states, head[v.end : v.end + 1]).float()], 1)
        if len(self.rows) > self._own:
            logits = torch.cat([guided(logits, self._own, self._options.guidance), logits[self._own :]])
        if end:
            only_points = functional.pad(self._first[:, None], (high - low, 0))
            logits = logits.masked_fill(only_points, -torch.inf)
        if self._grammar and slot == Y:
            logits = logits.masked_fill(self._places_of(logits) < self._floor[:, None], -torch.inf)
        self._broken |= ~torch.isfinite(logits.amax(1))
        draw = self._draws.index_select(1, self._at)[:, 0]
        token = low + sample_rows(logits, draw, self._options)
        if end:
            token = torch.where(token == high, v.end, token)
        if self._grammar:
            token = torch.where(self._ended, v.end, token)
        forced = self._forced[:, slot]
        token = torch.where(forced == NONE, token, forced)
        if len(self.rows) > self._own:
            token = torch.cat([token[: self._own], token[: self._own], token[2 * self._own :]])
        self._ended |= token == v.end
        if slot == Y:
            self._floor.copy_(torch.where(token < v.levels, token, self._floor))
        if slot == BINDING:
            self._first &= self._ended
        return token

    @staticmethod
    def _places_of(logits: Tensor) -> Tensor:
        return torch.arange(logits.shape[1], device=logits.device)

    def _feed(self, tokens: Tensor, slot: int, splits: int) -> None:
        """``tokens`` (ROWS,) at ``slot`` and the device's position, of which the ring's first ``splits`` are read."""
        w, ring = self.packed.weights, self.window.capacity
        heads = self.packed.heads
        place = self._position % ring
        wrapped = self._position >= ring
        places = self._places[: splits * SPLIT]
        seen = (places <= place) | (wrapped & (places >= place // SLOTS * SLOTS + SLOTS) & (places < ring))
        bias = torch.zeros_like(places, dtype=torch.float32).masked_fill(~seen, -torch.inf).view(splits, 1, SPLIT)
        angles = self._position.to(w.frequencies.dtype) * w.frequencies
        turn = torch.polar(torch.ones_like(angles), angles)
        x = w.embedding[tokens] + w.slot[slot]
        for layer in range(len(w.qkv)):
            if self.packed.cross_first:
                x = x + self._cross_attention(layer, x)
            qkv = functional.linear(_norm(x, w.self_norm[layer]), w.qkv[layer]).view(ROWS, 3, heads, -1)
            q, k, v = _turned(qkv[:, 0], turn), _turned(qkv[:, 1], turn), qkv[:, 2]
            out = torch.zeros_like(q)
            for row in range(len(self.rows)):
                for cache, new in ((self._keys, k), (self._values, v)):
                    cache[layer, row].view(-1, new.shape[-1]).index_copy_(0, _flat(place, heads), new[row])
                out[row] = _attended(q[row], self._keys[layer, row, :splits], self._values[layer, row, :splits], bias)
            x = x + functional.linear(out.flatten(1), w.self_out[layer])
            if not self.packed.cross_first:
                x = x + self._cross_attention(layer, x)
            up = functional.linear(_norm(x, w.feed_norm[layer]), w.up[layer], w.up_bias[layer])
            x = x + functional.linear(functional.gelu(up), w.down[layer], w.down_bias[layer])
        self._states.copy_(_norm(x, w.final_norm))
        self._position += 1

    def _cross_attention(self, layer: int, x: Tensor) -> Tensor:
        w = self.packed.weights
        q = functional.linear(_norm(x, w.cross_norm[layer]), w.cross_q[layer]).view(ROWS, self.packed.heads, 1, -1)
        out = torch.zeros_like(q)
        for row, (keys, values) in enumerate(self._cross):
            out[row] = functional.scaled_dot_product_attention(q[row][None], keys[layer][None], values[layer][None])[0]
        return functional.linear(out.flatten(1), w.cross_out[layer])


def _norm(x: Tensor, gain: Tensor) -> Tensor:
    """x-transformers' RMSNorm in one kernel; its least norm is 1e-12."""
    return functional.rms_norm(x, x.shape[-1:], gain, 1e-24 / x.shape[-1])


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    """``x`` (ROWS, H, D), the first pairs of a head's dimensions times ``turn`` (R / 2,), complex."""
    pairs = torch.view_as_complex(x[..., : 2 * len(turn)].float().unflatten(-1, (-1, 2)))
    return torch.cat([torch.view_as_real(pairs * turn).flatten(-2).to(x.dtype), x[..., 2 * len(turn) :]], -1)


def _flat(place: Tensor, heads: int) -> Tensor:
    """(H,): where a place's keys stand among the rows of a ring (splits, H, SPLIT, D)."""
    return (place // SPLIT * heads + torch.arange(heads, device=place.device)) * SPLIT + place % SPLIT


def _attended(q: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """``q`` (H, D) over ``keys`` and ``values`` (S, H, P, D), of which ``bias`` (S, 1, P) leaves out some -> (H, D).
    The splits are products side by side, and their softmax is taken over all of them."""
    splits, heads, places, width = keys.shape
    spread = (q / math.sqrt(width)).expand(splits, -1, -1).reshape(-1, width, 1)
    scores = torch.bmm(keys.reshape(-1, places, width), spread).view(splits, heads, places).float() + bias
    weights = scores.transpose(0, 1).flatten(1).softmax(1).view(heads, splits, places).transpose(0, 1)
    parts = torch.bmm(weights.to(values.dtype).reshape(-1, 1, places), values.reshape(-1, places, width))
    return parts.view(splits, heads, width).float().sum(0).to(q.dtype)
