"""Smooth surfaces from a coarse mesh: Loop subdivision as a matrix, computed once, and vertex normals."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

Matrix = Any  # scipy.sparse.csr_array, which has no type stubs


def subdivision(faces: NDArray[np.int64], vertices: int, levels: int) -> tuple[Matrix, NDArray[np.int64]]:
    """A sparse (V', V) matrix and the (F 4^levels, 3) faces of the mesh it makes; Loop 1987, boundaries as cubic
    B-splines. Positions, colours and anything else of the vertices go through the same matrix."""
    total = sparse.identity(vertices, format="csr")
    for _ in range(levels):
        step, faces = _loop_step(faces, total.shape[0])
        total = (step @ total).tocsr()
    return total, faces


def _loop_step(faces: NDArray[np.int64], n: int) -> tuple[Matrix, NDArray[np.int64]]:
    corners = np.concatenate([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]])  # the edge opposite each corner
    opposite = np.concatenate([faces[:, 0], faces[:, 1], faces[:, 2]])
    edges, of = np.unique(np.sort(corners, 1), axis=0, return_inverse=True)
    of = of.reshape(-1)
    uses = np.bincount(of, minlength=len(edges))
    inner = uses == 2
    a, b = edges.T

    # A new vertex an edge: 3/8 of its ends and 1/8 of the two corners that face it; the middle on a boundary.
    index = np.arange(len(edges))
    ends = np.where(inner, 3 / 8, 1 / 2)
    rows = [index, index, of[inner[of]]]
    columns = [a, b, opposite[inner[of]]]
    values = [ends, ends, np.full(int(inner[of].sum()), 1 / 8)]
    odd = sparse.coo_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (len(edges), n))

    # The old vertices: (1 - k beta) of themselves and beta of each of k neighbours; 3/4 and 1/8 along a boundary.
    both = np.concatenate([a, b]), np.concatenate([b, a])
    valence = np.bincount(both[0], minlength=n)
    rim = np.zeros(n, bool)
    rim[edges[~inner].ravel()] = True
    with np.errstate(divide="ignore", invalid="ignore"):
        beta = (5 / 8 - (3 / 8 + np.cos(2 * np.pi / valence) / 4) ** 2) / valence
    beta = np.where(valence > 0, beta, 0.0)
    along = np.concatenate([~inner, ~inner])  # boundary edges, both ways
    weight = np.where(rim[both[0]], np.where(along, 1 / 8, 0.0), beta[both[0]])
    even = sparse.coo_array((weight, both), (n, n)).tocsr()
    even = even + sparse.diags_array(1 - np.asarray(even.sum(axis=1)).reshape(-1))

    middle = (n + of).reshape(3, -1).T  # the new vertex opposite corner 0, 1, 2
    x, y, z = faces.T
    p, q, r = middle.T
    finer = np.concatenate([np.stack(c, 1) for c in ((x, r, q), (r, y, p), (q, p, z), (p, q, r))])
    return sparse.vstack([even, odd.tocsr()]).tocsr(), finer


class Normals:
    """Area-weighted vertex normals of a mesh whose faces stay the same."""

    def __init__(self, faces: NDArray[np.int64], vertices: int) -> None:
        self._faces = faces
        ones = np.ones(faces.size, np.float32)
        owners = np.repeat(np.arange(len(faces)), 3)
        self._gather = sparse.coo_array((ones, (faces.ravel(), owners)), (vertices, len(faces))).tocsr()

    def __call__(self, vertices: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """(V, 3) unit normals; zero for a vertex without a face."""
        a, b, c = (vertices[self._faces[:, k]] for k in range(3))
        normals = self._gather @ np.cross(b - a, c - a)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return (normals / np.maximum(length, 1e-20)).astype(np.float32)

    def relief(self, vertices: NDArray[np.floating[Any]], height: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """(V, 3) unit normals of the surface raised by ``height`` (V,) metres, whose vertices stay: a bump map."""
        a, b, c = (vertices[self._faces[:, k]] for k in range(3))
        ha, hb, hc = (height[self._faces[:, k], None] for k in range(3))
        flat = np.cross(b - a, c - a)
        twice = np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-20)
        slope = np.cross(flat / twice, ha * (c - b) + hb * (a - c) + hc * (b - a))  # its gradient times twice the area
        normals = self._gather @ (flat - slope)
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        return (normals / np.maximum(length, 1e-20)).astype(np.float32)
