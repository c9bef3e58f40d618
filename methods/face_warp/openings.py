"""What shows through the eyes and the mouth: meshes that keep what is behind the lids and lips in shape.

All of this is in pixels. ``scale`` is how much larger the driven head is than the portrait's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .topology import EYES, MOUTH, PUPILS, Opening

Floats = NDArray[np.float64]

MOUTH_ROWS = 6
MOUTH_STRETCH = 1.4
"""The portrait's teeth and tongue are stretched by this much at most; below them the mouth is dark."""


@dataclass(frozen=True)
class Patch:
    """Vertices where they are in the portrait and under the motion, triangles between them, and how dark each is."""

    source: Floats
    target: Floats
    triangles: NDArray[np.int64]
    shade: Floats


def eye(portrait: Floats, driven: Floats, scale: float, which: int) -> Patch:
    """An eye as a fan around the pupil. The iris keeps its shape and lids cover it, as far as the portrait shows it.

    Where the driven eye opens wider than the portrait's, the visible part is stretched.
    """
    opening = EYES[which]
    s, d = _Frame(portrait, opening), _Frame(driven, opening)
    su, sv = s.coordinates(portrait[PUPILS[which]])
    du, dv = d.coordinates(driven[PUPILS[which]])
    s_upper, s_lower = s.rows(portrait)
    d_upper, d_lower = d.rows(driven)

    middle = np.clip(du, 0.1, 0.9)
    shown = _between(dv, _at(middle, d_upper), _at(middle, d_lower))
    hub_u = np.clip(su, 0.1, 0.9)
    hub = _between(sv + (shown - dv) / scale, _at(hub_u, s_upper), _at(hub_u, s_lower))
    upper = _between(sv + (d_upper[:, 1] - dv) / scale, s_upper[:, 1], s_lower[:, 1])
    lower = _between(sv + (d_lower[:, 1] - dv) / scale, s_upper[:, 1], s_lower[:, 1])

    ends = np.array([[0.0, 0.0], [1.0, 0.0]])
    around = [ends[:1], np.stack([s_upper[:, 0], upper], 1), ends[1:], np.stack([s_lower[:, 0], lower], 1)[::-1]]
    source = s.points(np.concatenate([[[hub_u, hub]], *around]))
    target = d.points(np.concatenate([[[middle, shown]], ends[:1], d_upper, ends[1:], d_lower[::-1]]))
    rim = np.arange(1, len(source))
    triangles = np.stack([np.zeros_like(rim), rim, np.roll(rim, -1)], axis=1)
    return Patch(source, target, triangles, np.zeros(len(source)))


def mouth(portrait: Floats, driven: Floats, scale: float) -> Patch:
    """The inside of the mouth as rows of vertices that hang from the upper lip, as the upper teeth do.

    A lower lip that closes covers it from below; one that opens further than the portrait's (by more than
    :data:`MOUTH_STRETCH`) uncovers darkness.
    """
    s, d = _Frame(portrait, MOUTH), _Frame(driven, MOUTH)
    s_upper, s_lower = s.rows(portrait)
    d_upper, d_lower = d.rows(driven)
    t = np.linspace(0, 1, MOUTH_ROWS)[:, None]
    have = np.maximum(s_lower[:, 1] - s_upper[:, 1], 0)
    need = np.maximum(d_lower[:, 1] - d_upper[:, 1], 0) / scale
    stretch = np.clip(need / np.maximum(have, 1e-3), 1, MOUTH_STRETCH)
    depth = t * need
    soft = 0.04 * s.width
    shade = np.clip((depth - stretch * have) / soft, 0, 1)
    # Where the portrait's lips touch there is nothing to spread: the rows keep their places between them.
    share = np.where(have > 1e-3, np.minimum(depth / (stretch * np.maximum(have, 1e-3)), 1), t)
    source = s_upper + share[..., None] * (s_lower - s_upper)
    target = d_upper + t[..., None] * (d_lower - d_upper)

    columns = len(MOUTH.upper)
    ends = np.array([[0.0, 0.0], [1.0, 0.0]])
    triangles = []
    for row in range(MOUTH_ROWS - 1):
        a = row * columns + np.arange(columns - 1)
        triangles += [np.stack([a, a + 1, a + columns], 1), np.stack([a + 1, a + columns + 1, a + columns], 1)]
    first = np.arange(MOUTH_ROWS - 1) * columns
    corner = np.full_like(first, MOUTH_ROWS * columns)
    triangles += [np.stack([corner, first, first + columns], 1)]
    triangles += [np.stack([corner + 1, first + columns - 1, first + 2 * columns - 1], 1)]
    return Patch(
        s.points(np.concatenate([source.reshape(-1, 2), ends])),
        d.points(np.concatenate([target.reshape(-1, 2), ends])),
        np.concatenate(triangles),
        np.concatenate([shade.ravel(), [0.0, 0.0]]),
    )


class _Frame:
    """Coordinates of an opening: u from 0 at one corner to 1 at the other, v in pixels across, positive downwards."""

    def __init__(self, points: Floats, opening: Opening) -> None:
        self.opening = opening
        self.origin, end = points[opening.corners[0]], points[opening.corners[1]]
        self.width = max(float(np.linalg.norm(end - self.origin)), 1e-3)
        self.along = (end - self.origin) / self.width
        self.across = np.array([-self.along[1], self.along[0]])

    def coordinates(self, points: Floats) -> Floats:
        away = points - self.origin
        return np.stack([away @ self.along / self.width, away @ self.across], axis=-1)

    def points(self, coordinates: Floats) -> Floats:
        u, v = coordinates[..., :1], coordinates[..., 1:]
        return self.origin + u * self.width * self.along + v * self.across

    def rows(self, points: Floats) -> tuple[Floats, Floats]:
        """(N, 2) u and v of the upper row and of the lower."""
        return self.coordinates(points[list(self.opening.upper)]), self.coordinates(points[list(self.opening.lower)])


def _at(u: float, row: Floats) -> float:
    return float(np.interp(u, [0.0, *row[:, 0], 1.0], [0.0, *row[:, 1], 0.0]))


def _between(value: Floats | float, low: Floats | float, high: Floats | float) -> Floats:
    """``value`` moved between ``low`` and ``high``; their middle where they have crossed."""
    middle = (np.asarray(low) + high) / 2
    return np.clip(value, np.minimum(low, middle), np.maximum(high, middle))
