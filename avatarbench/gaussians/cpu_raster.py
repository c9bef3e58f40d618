"""Alpha compositing of projected Gaussians over tiles, front to back, and its gradient, compiled by numba.

Conventions of gsplat's ``RasterizeToPixels``: a pixel is looked at in its centre; alpha is at most 0.999 and counts
from 1/255; a pixel is finished before the Gaussian that would bring its transmittance to 1e-4 or less. A tile belongs
to one thread, which writes to its own pixels alone; gradients are stored a Gaussian and tile and summed in a fixed
order, so results do not depend on the number of threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from avatarbench.gaussians.cpu_project import ALPHA_LEAST

TILE = 16
ALPHA_MOST = 0.999
TRANSMITTANCE_LEAST = 1e-4

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**_OPTIONS)
def bin_tiles(order, box, tiles_x, tiles):
    """Which Gaussians touch which tile, nearest first.

    ``order`` (N,): Gaussians by depth. Returns ``starts`` (tiles + 1,) into ``ids``, and ``slots`` (len(ids),): the row
    that a Gaussian's gradient from this tile is written to; rows of one Gaussian are neighbours, ``first`` (N + 1,).
    """
    count = len(order)
    starts = np.zeros(tiles + 1, np.int64)
    first = np.zeros(count + 1, np.int64)
    for n in range(count):
        touched = 0
        if box[n, 2] > box[n, 0] and box[n, 3] > box[n, 1]:
            x0, x1 = box[n, 0] // TILE, (box[n, 2] - 1) // TILE
            y0, y1 = box[n, 1] // TILE, (box[n, 3] - 1) // TILE
            touched = (x1 - x0 + 1) * (y1 - y0 + 1)
            for ty in range(y0, y1 + 1):
                for tx in range(x0, x1 + 1):
                    starts[ty * tiles_x + tx + 1] += 1
        first[n + 1] = first[n] + touched
    for tile in range(tiles):
        starts[tile + 1] += starts[tile]
    ids = np.empty(starts[tiles], np.int32)
    slots = np.empty(starts[tiles], np.int64)
    cursor = starts[:-1].copy()
    for place in range(count):
        n = order[place]
        if first[n + 1] == first[n]:
            continue
        slot = first[n]
        for ty in range(box[n, 1] // TILE, (box[n, 3] - 1) // TILE + 1):
            for tx in range(box[n, 0] // TILE, (box[n, 2] - 1) // TILE + 1):
                at = cursor[ty * tiles_x + tx]
                ids[at], slots[at] = n, slot
                cursor[ty * tiles_x + tx] = at + 1
                slot += 1
    return starts, ids, slots, first


@njit(inline="always")
def _row(a, b, c, u, dy, reach, x0, x1):
    """First and last + 1 pixel of a row whose centres lie within ``reach`` of half the Mahalanobis distance squared."""
    if a <= 0:  # wider than a float can say: every pixel is within reach
        return x0, x1
    half = b * dy / a
    inside = half * half - (c * dy * dy - 2 * reach) / a
    if inside <= 0:
        return x0, x0
    root = math.sqrt(inside)
    # centre x + 0.5 with (x + 0.5 - u) in [-half - root, -half + root]; one pixel of slack for rounding
    low = int(max(float(x0), u - half - root - 0.5))
    high = int(np.ceil(min(float(x1), u - half + root + 0.5)))
    return low, high


@njit(parallel=True, **_OPTIONS)
def composite(starts, ids, means2d, conics, opacities, features, box, width, height, out, transmittance, last):
    """Fill ``out`` (H, W, C), ``transmittance`` (H, W) and ``last`` (H, W): one past the last entry of ``ids`` used.

    ``features``: (N, C). A finished pixel's transmittance is stored negative while its tile is at work.
    """
    tiles_x = (width + TILE - 1) // TILE
    channels = features.shape[1]
    for tile in prange(len(starts) - 1):
        left, top = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        right, bottom = min(left + TILE, width), min(top + TILE, height)
        open_pixels = (right - left) * (bottom - top)
        for y in range(top, bottom):
            for x in range(left, right):
                transmittance[y, x] = 1.0
                last[y, x] = 0
                for channel in range(channels):
                    out[y, x, channel] = 0.0
        for at in range(starts[tile], starts[tile + 1]):
            if open_pixels == 0:
                break
            n = ids[at]
            u, v, opacity = means2d[n, 0], means2d[n, 1], opacities[n]
            a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
            reach = math.log(opacity / ALPHA_LEAST)
            x0, x1 = max(left, box[n, 0]), min(right, box[n, 2])
            for y in range(max(top, box[n, 1]), min(bottom, box[n, 3])):
                dy = y + 0.5 - v
                low, high = _row(a, b, c, u, dy, reach, x0, x1)
                for x in range(low, high):
                    before = transmittance[y, x]
                    if before < 0:
                        continue
                    dx = x + 0.5 - u
                    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                    if not sigma <= reach:  # below zero by rounding alone
                        continue
                    alpha = min(ALPHA_MOST, opacity * math.exp(-sigma))
                    if alpha < ALPHA_LEAST:
                        continue
                    after = before * (1 - alpha)
                    if after <= TRANSMITTANCE_LEAST:
                        transmittance[y, x] = -before
                        open_pixels -= 1
                        continue
                    weight = alpha * before
                    for channel in range(channels):
                        out[y, x, channel] += weight * features[n, channel]
                    transmittance[y, x] = after
                    last[y, x] = at + 1
        for y in range(top, bottom):
            for x in range(left, right):
                transmittance[y, x] = abs(transmittance[y, x])


@njit(parallel=True, **_OPTIONS)
def composite_backward(
    starts,
    ids,
    slots,
    means2d,
    conics,
    opacities,
    features,
    box,
    width,
    height,
    transmittance,
    last,
    g_out,
    g_transmittance,
    behind,
    rows,
):
    """Fill ``rows`` (len(ids), 6 + C): gradients of mean (2), conic (3), opacity, features, a Gaussian and tile each.

    ``transmittance`` (H, W), which :func:`composite` left, is run back to one; ``behind`` (H, W) starts as zeros: the
    gradient-weighted sum of what lies behind the Gaussian at work. ``g_out`` (H, W, C), ``g_transmittance`` (H, W).
    """
    tiles_x = (width + TILE - 1) // TILE
    channels = features.shape[1]
    for tile in prange(len(starts) - 1):
        left, top = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        right, bottom = min(left + TILE, width), min(top + TILE, height)
        for y in range(top, bottom):
            for x in range(left, right):
                # dL/dT of the final transmittance, times that transmittance: it scales with every (1 - alpha).
                behind[y, x] = g_transmittance[y, x] * transmittance[y, x]
        for at in range(starts[tile + 1] - 1, starts[tile] - 1, -1):
            n, slot = ids[at], slots[at]
            u, v, opacity = means2d[n, 0], means2d[n, 1], opacities[n]
            a, b, c = conics[n, 0], conics[n, 1], conics[n, 2]
            reach = math.log(opacity / ALPHA_LEAST)
            gu = gv = ga = gb = gc = go = 0.0
            for channel in range(channels):
                rows[slot, 6 + channel] = 0.0
            x0, x1 = max(left, box[n, 0]), min(right, box[n, 2])
            for y in range(max(top, box[n, 1]), min(bottom, box[n, 3])):
                dy = y + 0.5 - v
                low, high = _row(a, b, c, u, dy, reach, x0, x1)
                for x in range(low, high):
                    if at >= last[y, x]:
                        continue
                    dx = x + 0.5 - u
                    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                    if not sigma <= reach:  # below zero by rounding alone
                        continue
                    fall = math.exp(-sigma)
                    alpha = min(ALPHA_MOST, opacity * fall)
                    if alpha < ALPHA_LEAST:
                        continue
                    before = transmittance[y, x] / (1 - alpha)
                    weight = alpha * before
                    along = 0.0
                    for channel in range(channels):
                        g = g_out[y, x, channel]
                        rows[slot, 6 + channel] += weight * g
                        along += g * features[n, channel]
                    g_alpha = before * along - behind[y, x] / (1 - alpha)
                    behind[y, x] += weight * along
                    transmittance[y, x] = before
                    if opacity * fall < ALPHA_MOST:
                        g_sigma = -alpha * g_alpha
                        ga += 0.5 * g_sigma * dx * dx
                        gb += g_sigma * dx * dy
                        gc += 0.5 * g_sigma * dy * dy
                        gu -= g_sigma * (a * dx + b * dy)
                        gv -= g_sigma * (b * dx + c * dy)
                        go += fall * g_alpha
            rows[slot, 0], rows[slot, 1] = gu, gv
            rows[slot, 2], rows[slot, 3], rows[slot, 4] = ga, gb, gc
            rows[slot, 5] = go


@njit(parallel=True, **_OPTIONS)
def sum_rows(first, rows, out):
    """Add a Gaussian's neighbouring ``rows`` into its row of ``out`` (N, 6 + C), in their order."""
    for n in prange(len(first) - 1):
        for column in range(rows.shape[1]):
            total = 0.0
            for slot in range(first[n], first[n + 1]):
                total += rows[slot, column]
            out[n, column] = total


def depth_order(depths: NDArray[np.floating]) -> NDArray[np.int64]:
    """Indices of Gaussians, nearest first; equal depths in the order they came."""
    return np.argsort(depths, kind="stable")
