"""One identity's head as hair sees it: in the reference head's place and size, with a hull that hair stays outside of.

Working in the reference head's frame lets one set of lengths in metres serve heads of every size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatarbench.openheads.hair_regions import CENTRE, Floats, Regions, above_hairline

_COLUMNS, _TOP, _BELOW = 72, 18, 26
_STEP = 0.009
"""Metres between rows of the hull below the centre."""
_SHOULDER = -0.125
"""Reference height where the neck widens into the shoulders."""


@dataclass(frozen=True)
class Head:
    """``regions`` of the reference head; ``vertices`` (V, 3) of this identity, moved and scaled onto it: rest =
    ``scale`` * vertices + ``shift``; ``skull`` and ``outline``: hulls without and with the ears."""

    regions: Regions
    vertices: Floats
    scale: float
    shift: Floats
    skull: Hull
    outline: Hull

    @classmethod
    def fit(cls, here: Regions, rest: Floats) -> Head:
        """The head of rest vertices (V, 3), laid on the reference by its scalp (least squares, no rotation)."""
        scalp = above_hairline(here.vertices) > 0
        reference, found = here.vertices[scalp], rest[scalp]
        middle, at = reference.mean(0), found.mean(0)
        scale = float(((found - at) * (reference - middle)).sum() / ((reference - middle) ** 2).sum())
        shift = at - scale * middle
        vertices = (rest - shift) / scale
        ears = here.face_mask("ears")
        return cls(
            here, vertices, scale, shift, Hull.around(vertices, here.faces[~ears]), Hull.around(vertices, here.faces)
        )

    def to_rest(self, points: Floats) -> Floats:
        """Points (..., 3) of this frame in the rest space of the identity."""
        return points * self.scale + self.shift

    def at(self, faces: NDArray[np.int64], barycentric: Floats) -> Floats:
        """(N, 3) positions of barycentric points on triangles."""
        return (self.vertices[self.regions.faces[faces]] * barycentric[:, :, None]).sum(1)

    def normals(self, faces: NDArray[np.int64]) -> Floats:
        """(N, 3) unit normals of triangles, outward."""
        a, b, c = np.moveaxis(self.vertices[self.regions.faces[faces]], 1, 0)
        normal = np.cross(b - a, c - a)
        return normal / np.linalg.norm(normal, axis=1, keepdims=True)


@dataclass(frozen=True)
class Hull:
    """A surface around the head: distance from a bullet-shaped axis (the cranium's centre, and straight down from it)
    by azimuth and by polar angle or depth. ``table`` (rows, columns) metres."""

    table: Floats

    @classmethod
    def around(cls, vertices: Floats, faces: NDArray[np.int64]) -> Hull:
        """The greatest distance of the surface in each cell, smoothed; below the mesh the neck, then shoulders."""
        weights = np.array([(i, j, 6 - i - j) for i in range(7) for j in range(7 - i)]) / 6
        points = np.einsum("kc,fcx->fkx", weights, vertices[faces]).reshape(-1, 3)
        distance, row, column = _coordinates(points)
        r = np.clip(np.rint(row).astype(int), 0, _TOP + _BELOW)
        c = np.rint(column).astype(int) % _COLUMNS
        table = np.zeros((_TOP + _BELOW + 1, _COLUMNS))
        np.maximum.at(table, (r, c), distance)
        table[0] = table[0].max()
        angle = np.arange(_COLUMNS) * (2 * np.pi / _COLUMNS)
        last = CENTRE[2] - (np.arange(_TOP + _BELOW + 1) - _TOP) * _STEP
        for k in range(1, len(table)):
            table[k] = np.where(table[k] < 0.02, table[k - 1], table[k])
            if k > _TOP and last[k] < -0.03:  # an edge of the cut mesh is not a thinner neck
                table[k] = np.maximum(table[k], 0.06)
            if last[k] < _SHOULDER:
                wide = 0.055 + (_SHOULDER - last[k]) * (1.0 + 1.6 * np.abs(np.sin(angle)))
                table[k] = np.maximum(table[k], wide)
        soft = (np.roll(table, 1, 1) + 2 * table + np.roll(table, -1, 1)) / 4
        soft[1:-1] = (soft[:-2] + 2 * soft[1:-1] + soft[2:]) / 4
        return cls(soft)

    def distance(self, points: Floats) -> tuple[Floats, Floats]:
        """How far points (..., 3) are outside (negative: inside), and (..., 3) the outward direction there."""
        found, row, column = _coordinates(points)
        row = np.clip(row, 0, _TOP + _BELOW - 1e-6)
        r, c = row.astype(int), np.floor(column).astype(int)
        fr, fc = row - r, column - c
        c0, c1 = c % _COLUMNS, (c + 1) % _COLUMNS
        t = self.table
        upper = t[r, c0] * (1 - fc) + t[r, c1] * fc
        lower = t[r + 1, c0] * (1 - fc) + t[r + 1, c1] * fc
        outward = points - CENTRE
        outward[..., 2] = np.maximum(outward[..., 2], 0)
        return found - (upper * (1 - fr) + lower * fr), outward / (found[..., None] + 1e-9)


def _coordinates(points: Floats) -> tuple[Floats, Floats, Floats]:
    """Distance from the axis, row and column of points (..., 3)."""
    q = points - CENTRE
    flat = np.hypot(q[..., 0], q[..., 1])
    over = q[..., 2] > 0
    distance = np.where(over, np.linalg.norm(q, axis=-1), flat)
    polar = np.arctan2(flat, np.maximum(q[..., 2], 0)) * (_TOP / (np.pi / 2))
    row = np.where(over, polar, _TOP - q[..., 2] / _STEP)
    column = (np.arctan2(q[..., 0], -q[..., 1]) % (2 * np.pi)) * (_COLUMNS / (2 * np.pi))
    return distance, row, column
