"""Noise in space: patterns without seams, the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _hash(cells: NDArray[np.int64], seed: int) -> NDArray[np.uint32]:
    """(N,) well-mixed bits of (N, 3) integer cells."""
    x, y, z = (cells[:, k].astype(np.uint32) for k in range(3))
    h = x * np.uint32(0x9E3779B1) ^ y * np.uint32(0x85EBCA77) ^ z * np.uint32(0xC2B2AE3D) ^ np.uint32(seed & 0xFFFFFFFF)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return h ^ (h >> np.uint32(15))


def value_noise(points: Array, size: float, seed: int) -> Array:
    """(N,) in [-1, 1] at (N, 3) points: random values on a grid of ``size`` metres, quintic in between."""
    scaled = points / size
    base = np.floor(scaled).astype(np.int64)
    t = scaled - base
    w = t * t * t * (t * (6 * t - 15) + 10)
    total = np.zeros(len(points))
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(np.array(corner, bool), w, 1 - w), axis=1)
        total += weight * (_hash(base + np.array(corner), seed) / 2147483647.5 - 1)
    return total


def fractal(points: Array, size: float, seed: int, octaves: int = 3) -> Array:
    """Sum of ``octaves`` of :func:`value_noise`, each half as large and half as strong; about [-1, 1]."""
    total, strength = np.zeros(len(points)), 0.0
    for octave in range(octaves):
        amplitude = 0.5**octave
        total += amplitude * value_noise(points, size * amplitude, seed + 101 * octave)
        strength += amplitude
    return total / strength


def spots(points: Array, size: float, seed: int, share: float, radius: tuple[float, float]) -> Array:
    """(N,) in [0, 1]: soft round spots, one in a ``share`` of the cells of ``size`` metres; radii in metres."""
    cells = np.floor(points / size).astype(np.int64)
    found = np.zeros(len(points))
    for offset in np.ndindex(3, 3, 3):
        cell = cells + np.array(offset) - 1
        u = [_hash(cell, seed + 7919 * k) / 4294967295.0 for k in range(5)]
        centre = (cell + np.stack(u[:3], 1)) * size
        r = radius[0] + (radius[1] - radius[0]) * u[3]
        near = np.clip(1.5 * (1 - np.linalg.norm(points - centre, axis=1) / r), 0, 1)
        found = np.maximum(found, np.where(u[4] < share, near, 0.0))
    return found


def smoothstep(low: float, high: float, x: Array) -> Array:
    """0 below ``low``, 1 above ``high`` (or the reverse, if low > high), smooth in between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
