"""Points on a triangle mesh."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def closest_points(
    points: Array, vertices: Array, faces: NDArray[np.int64], among: NDArray[np.int64], near: int = 60
) -> tuple[NDArray[np.int64], Array]:
    """The triangle (N,) of ``among`` that is nearest to each of ``points`` (N, 3), and the barycentrics (N, 3) there.

    Only the ``near`` triangles with the nearest centroids are looked at.
    """
    triangles = vertices[faces[among]]
    centroids = triangles.mean(axis=1)
    found, weights = np.empty(len(points), np.int64), np.empty((len(points), 3))
    for n, point in enumerate(points):
        close = np.argsort(((centroids - point) ** 2).sum(1))[:near]
        inside = np.stack([_closest(point, triangle) for triangle in triangles[close]])
        away = ((np.einsum("tk,tkc->tc", inside, triangles[close]) - point) ** 2).sum(1)
        best = int(away.argmin())
        found[n], weights[n] = among[close[best]], inside[best]
    return found, weights


def _closest(point: Array, triangle: Array) -> Array:
    """Barycentrics (3,) of the point of a triangle (3, 3) that is closest: its plane's if inside, else an edge's."""
    ab, ac, ap = triangle[1] - triangle[0], triangle[2] - triangle[0], point - triangle[0]
    gram = np.array([[ab @ ab, ab @ ac], [ab @ ac, ac @ ac]])
    if np.linalg.det(gram) > 1e-24:
        v, w = np.linalg.solve(gram, [ab @ ap, ac @ ap])
        if v >= 0 and w >= 0 and v + w <= 1:
            return np.array([1 - v - w, v, w])
    candidates = []
    for i, j in ((0, 1), (1, 2), (2, 0)):
        edge = triangle[j] - triangle[i]
        t = np.clip((point - triangle[i]) @ edge / max(float(edge @ edge), 1e-24), 0, 1)
        weights = np.zeros(3)
        weights[i], weights[j] = 1 - t, t
        candidates.append(weights)
    return min(candidates, key=lambda w: float(((w @ triangle - point) ** 2).sum()))
