"""Hair that is tied: drawn over the skull to one place, and from there a tail or a bun."""

from __future__ import annotations

import numpy as np

from avatarbench.openheads.hair_comb import resampled
from avatarbench.openheads.hair_head import Head
from avatarbench.openheads.hair_regions import CENTRE, Floats, smoothstep

_OVER, _FREE = 8, 10


def tied(head: Head, roots: Floats, lengths: Floats, high: float, bun: bool, rng: np.random.Generator) -> Floats:
    """(N, P, 3) strands from ``roots`` (N, 3) over the skull to the tie, and (N,) ``lengths`` of tail from there.

    ``high`` in [0, 1]: how high the tie sits on the back of the head.
    """
    direction = np.array([0.0, np.cos(0.2 + 0.9 * high), np.sin(0.2 + 0.9 * high)])
    tie = CENTRE + 0.09 * direction
    gap, outward = head.skull.distance(tie[None])
    tie = tie - outward[0] * (gap[0] - 0.008)
    over = _drawn(head, roots, tie, rng)
    free = _bun(tie, direction, len(roots), rng) if bun else _tail(head, tie, direction, lengths, rng)
    first = resampled(over, np.ones(len(roots)), _OVER)
    return np.concatenate([first, free], 1)


def _drawn(head: Head, roots: Floats, tie: Floats, rng: np.random.Generator) -> Floats:
    """(N, 25, 3) paths close to the skull, along great circles about its centre."""
    along = np.linspace(0, 1, 25)[None, :, None]
    start, end = roots - CENTRE, tie - CENTRE + rng.normal(0, 0.003, roots.shape)
    r0, r1 = (np.linalg.norm(v, axis=1, keepdims=True) for v in (start, end))
    u0, u1 = start / r0, end / r1
    angle = np.arccos(np.clip((u0 * u1).sum(1), -1, 1))[:, None, None] + 1e-6
    path = (np.sin((1 - along) * angle) * u0[:, None] + np.sin(along * angle) * u1[:, None]) / np.sin(angle)
    path = CENTRE + path * (r0[:, None] * (1 - along) + r1[:, None] * along)
    gap, outward = head.skull.distance(path)
    root_gap = np.minimum(gap[:, :1], 0)
    ramp = smoothstep(along[..., 0] / 0.2)
    height = 0.0015 + 0.005 * rng.random((len(roots), 1)) * smoothstep(along[..., 0] / 0.5)
    need = root_gap + (height - root_gap) * ramp
    moved = np.where(ramp > 0.5, need - gap, np.maximum(need - gap, 0))
    return path + outward * moved[..., None]


def _tail(head: Head, tie: Floats, direction: Floats, lengths: Floats, rng: np.random.Generator) -> Floats:
    """(N, 10, 3): a sheaf that rises from the tie, swells, and thins out as its strands end one by one."""
    run = np.linspace(0.08, 1, _FREE)[None, :] * lengths[:, None]
    back = 0.045 * (1 - np.exp(-run / 0.04))
    down = run - 0.04 * (1 - np.exp(-run / 0.04))
    sweep = rng.normal(0, 0.25) * down**2 / lengths.max() + 0.006 * np.sin(run / 0.035 + rng.uniform(0, 6))
    centre = tie + back[..., None] * direction + down[..., None] * [0, 0, -1.0] + sweep[..., None] * [1.0, 0.2, 0]
    radius, angle = np.sqrt(rng.random(len(lengths))), rng.uniform(0, 2 * np.pi, len(lengths))
    wide = 0.007 + 0.022 * smoothstep(run / 0.1) * (1 - 0.5 * run / lengths.max())
    across = np.stack([np.cos(angle), 0.8 * np.sin(angle), 0.4 * np.sin(angle)], 1)
    points = centre + (radius[:, None] * wide)[..., None] * across[:, None]
    points += rng.normal(0, 0.012, (len(lengths), 1, 3)) * smoothstep(run / lengths.max())[..., None]
    gap, outward = head.outline.distance(points)
    return points + outward * np.maximum(0.004 - gap, 0)[..., None]


def _bun(tie: Floats, direction: Floats, count: int, rng: np.random.Generator) -> Floats:
    """(count, 10, 3): each strand winds around a ball by three quarters of a turn."""
    middle = tie + 0.02 * direction
    radius = 0.024 + 0.009 * rng.random((count, 1, 1))
    axis = direction + rng.normal(0, 0.45, (count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    first = np.cross(axis, rng.normal(size=(count, 3)))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(axis, first)
    turn = np.linspace(0, 4.7, _FREE)[None, :, None]
    lean = axis * rng.uniform(-0.7, 0.7, (count, 1))
    ring = np.cos(turn) * first[:, None] + np.sin(turn) * second[:, None] + lean[:, None]
    ring /= np.linalg.norm(ring, axis=2, keepdims=True)
    return middle + radius * ring * [1, 0.85, 1]
