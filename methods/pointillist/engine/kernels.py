"""One decoding step on a CPU, compiled by numba: every weight and every cached key is read once.

A row's sums are taken in an order that neither the other rows nor the number of threads change, so a subject's states
are the same bits for any batch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

SPLIT = 512
"""Places of the cache that one task attends to."""
ASSIGN, ADD, GELU = np.int64(0), np.int64(1), np.int64(2)
"""What :func:`linear` does with its result. Were they Python's integers, numba would compile it anew for each."""

Floats = NDArray[np.float32]

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
_SUMS: dict[str, Any] = {**_OPTIONS, "fastmath": {"reassoc", "contract", "nsz"}}  # vectorised; NaN stays NaN


class Caches(NamedTuple):
    """Keys, rotated, and values of S subjects: a ring of P places, and the C places of cross-attention."""

    keys: Floats  # (L, S, H, P, D)
    values: Floats
    cross_keys: Floats  # (L, S, H, C, D)
    cross_values: Floats


class Work(NamedTuple):
    """Buffers for N rows, each overwritten in every part of a layer."""

    x: Floats  # (N, W): the residual stream
    normed: Floats  # (N, W)
    qkv: Floats  # (N, 3 A)
    query: Floats  # (N, A)
    heads: Floats  # (N, A)
    up: Floats  # (N, F)
    scores: Floats  # (tasks, SPLIT)
    partial: Floats  # (tasks, D)
    most: Floats  # (tasks,)
    total: Floats  # (tasks,)
    none: Floats  # (0,): no bias


def first_rows(work: Work, rows: int) -> Work:
    """The same buffers, for fewer rows."""
    return work._replace(
        **{name: getattr(work, name)[:rows] for name in ("x", "normed", "qkv", "query", "heads", "up")}
    )


def workspace(rows: int, width: int, heads: int, head_width: int, hidden: int, places: int) -> Work:
    """``places``: the most that are attended to, of the ring or of cross-attention."""
    tasks, across = rows * heads * -(-places // SPLIT), heads * head_width
    shapes = [(rows, width)] * 2 + [(rows, 3 * across)] + [(rows, across)] * 2 + [(rows, hidden)]
    shapes += [(tasks, SPLIT), (tasks, head_width)]
    return Work(*(np.zeros(s, np.float32) for s in [*shapes, (tasks,), (tasks,), (0,)]))


@njit(parallel=True, **_SUMS)
def linear(x, weight, bias, out, mode):
    """``x`` (N, I) times ``weight`` (O, I) transposed, plus ``bias`` (O,) or (0,), to ``out`` (N, O)."""
    for o in prange(weight.shape[0]):
        row = weight[o]
        for n in range(x.shape[0]):
            found = np.float32(0)
            for i in range(weight.shape[1]):
                found += row[i] * x[n, i]
            if bias.shape[0]:
                found += bias[o]
            if mode == ADD:
                out[n, o] += found
            elif mode == GELU:
                out[n, o] = np.float32(0.5) * found * (np.float32(1) + math.erf(found * np.float32(math.sqrt(0.5))))
            else:
                out[n, o] = found


@njit(**_SUMS)
def normalise(x, gain, out):
    """x-transformers' RMSNorm of every row of ``x`` (N, W)."""
    for n in range(x.shape[0]):
        square = np.float32(0)
        for i in range(x.shape[1]):
            square += x[n, i] * x[n, i]
        factor = np.float32(math.sqrt(x.shape[1])) / max(np.float32(math.sqrt(square)), np.float32(1e-12))
        for i in range(x.shape[1]):
            out[n, i] = x[n, i] * factor * gain[i]


@njit(**_OPTIONS)
def exponentials(row, most, count):
    """e to the power of ``row`` - ``most``, none of them above 0, in place: to 1e-7 of each, in vectors where math.exp
    is called one by one. The reduction and the polynomial are those of Cephes' expf."""
    for j in range(count):
        x = max(row[j] - most, np.float32(-87.0))
        power = np.floor(x * np.float32(1.44269504088896341) + np.float32(0.5))
        f = x - power * np.float32(0.693359375)
        f = f - power * np.float32(-2.12194440e-4)
        y = np.float32(1.9875691500e-4)
        y = y * f + np.float32(1.3981999507e-3)
        y = y * f + np.float32(8.3334519073e-3)
        y = y * f + np.float32(4.1665795894e-2)
        y = y * f + np.float32(1.6666665459e-1)
        y = y * f + np.float32(5.0000001201e-1)
        y = y * f * f + f + np.float32(1)
        row[j] = y * np.int32((np.int32(power) + np.int32(127)) << np.int32(23)).view(np.float32)


@njit(**_SUMS)
def _attend_split(query, key, value, start, used, first, second, row, sums):
    """The places of one split, at most SPLIT from ``start`` on. Fills ``sums`` (D,) with values weighted by e to the
    power of their score less the greatest; returns that score and the weights' sum."""
    width = len(query)
    count = min(SPLIT, used - start)
    scale = np.float32(1 / math.sqrt(width))
    most = np.float32(-1e30)
    for j in range(count):
        score = np.float32(0)
        for d in range(width):
            score += query[d] * key[start + j, d]
        score *= scale
        if first <= start + j < second:  # left over from the point that is being replaced
            score = np.float32(-1e30)
        row[j] = score
        most = max(most, score)
    exponentials(row, most, count)
    for j in range(max(first - start, 0), min(second - start, count)):
        row[j] = 0
    total = np.float32(0)
    for j in range(count):
        total += row[j]
    for d in range(width):
        sums[d] = 0
    whole = count // 4 * 4
    for j in range(0, whole, 4):
        at = start + j
        for d in range(width):
            sums[d] += (row[j] * value[at, d] + row[j + 1] * value[at + 1, d]) + (
                row[j + 2] * value[at + 2, d] + row[j + 3] * value[at + 3, d]
            )
    for j in range(whole, count):
        for d in range(width):
            sums[d] += row[j] * value[start + j, d]
    return most, total


@njit(inline="always")  # a library of its own would be optimised again in each of its callers
def _merge(begin, end, work, out):
    """The splits of one head, in their order, to ``out`` (D,)."""
    highest = np.float32(-1e30)
    for task in range(begin, end):
        highest = max(highest, work.most[task])
    total = np.float32(0)
    for d in range(len(out)):
        out[d] = 0
    for task in range(begin, end):
        factor = np.float32(math.exp(work.most[task] - highest))
        total += factor * work.total[task]
        for d in range(len(out)):
            out[d] += factor * work.partial[task, d]
    for d in range(len(out)):
        out[d] /= total


@njit(parallel=True, **_OPTIONS)
def _attend_splits(query, keys, values, rows, splits, used, first, second, scores, partial, most, total):
    # Inside a prange, what is written to the arrays of a named tuple is lost: they are handed in one by one.
    heads, width = keys.shape[1], keys.shape[3]
    for task in prange(len(rows) * heads * splits):
        n, h = task // (heads * splits), task // splits % heads
        found = _attend_split(
            query[n, h * width : (h + 1) * width],
            keys[rows[n], h],
            values[rows[n], h],
            task % splits * SPLIT,
            used,
            first,
            second,
            scores[task],
            partial[task],
        )
        most[task], total[task] = found[0], found[1]


@njit(inline="always")
def attend(query, keys, values, rows, first, second, work, out):
    """``query`` (N, A) over the places [0, first) and [second, P) of ``keys`` and ``values`` (S, H, P, D), those of
    subject rows[n] for row n, to ``out`` (N, A). Splits are summed in their order, whatever thread had them."""
    heads, places, width = keys.shape[1], keys.shape[2], keys.shape[3]
    used = places if second < places else first
    splits = (used + SPLIT - 1) // SPLIT
    buffers = work.scores, work.partial, work.most, work.total
    _attend_splits(query, keys, values, rows, splits, used, first, second, *buffers)
    for n in range(len(rows)):
        for h in range(heads):
            begin = (n * heads + h) * splits
            _merge(begin, begin + splits, work, out[n, h * width : (h + 1) * width])


@njit(inline="always")
def rotate(vector, frequencies, position):
    """The first 2 R of ``vector`` (D,), pair by pair, in place; angles in float32, as x-transformers has them."""
    for i in range(len(frequencies)):
        angle = np.float32(position) * frequencies[i]
        cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        one, other = vector[2 * i], vector[2 * i + 1]
        vector[2 * i] = one * cosine - other * sine
        vector[2 * i + 1] = other * cosine + one * sine


@njit(inline="always")
def _self_attention(layer, w, caches, rows, position, place, first, second, work):
    normalise(work.x, w.self_norm[layer], work.normed)
    linear(work.normed, w.qkv[layer], work.none, work.qkv, ASSIGN)
    heads, width = caches.keys.shape[2], caches.keys.shape[4]
    across = heads * width
    for n in range(len(rows)):
        for h in range(heads):
            at = h * width
            rotate(work.qkv[n, at : at + width], w.frequencies, position)
            rotate(work.qkv[n, across + at : across + at + width], w.frequencies, position)
            for d in range(width):
                work.query[n, at + d] = work.qkv[n, at + d]
                caches.keys[layer, rows[n], h, place, d] = work.qkv[n, across + at + d]
                caches.values[layer, rows[n], h, place, d] = work.qkv[n, 2 * across + at + d]
    attend(work.query, caches.keys[layer], caches.values[layer], rows, first, second, work, work.heads)
    linear(work.heads, w.self_out[layer], work.none, work.x, ADD)


@njit(inline="always")
def _cross_attention(layer, w, caches, rows, work):
    normalise(work.x, w.cross_norm[layer], work.normed)
    linear(work.normed, w.cross_q[layer], work.none, work.query, ASSIGN)
    keys, values = caches.cross_keys[layer], caches.cross_values[layer]
    attend(work.query, keys, values, rows, keys.shape[2], keys.shape[2], work, work.heads)
    linear(work.heads, w.cross_out[layer], work.none, work.x, ADD)


@njit(**_OPTIONS)
def step(w, cross_first, caches, rows, tokens, slot, position, place, first, second, work, states):
    """Feeds ``tokens`` (N,), of subjects ``rows`` (N,), at ``slot`` of a point and ``position`` of the window; their
    keys go to ``place`` of the ring. ``states`` (N, W): after the final norm."""
    for n in range(len(rows)):
        for i in range(work.x.shape[1]):
            work.x[n, i] = w.embedding[tokens[n], i] + w.slot[slot, i]
    for layer in range(w.qkv.shape[0]):
        for part in range(2):
            if (part == 0) == cross_first:
                _cross_attention(layer, w, caches, rows, work)
            else:
                _self_attention(layer, w, caches, rows, position, place, first, second, work)
        normalise(work.x, w.feed_norm[layer], work.normed)
        linear(work.normed, w.up[layer], w.up_bias[layer], work.up, GELU)
        linear(work.up, w.down[layer], w.down_bias[layer], work.x, ADD)
    normalise(work.x, w.final_norm, states)
