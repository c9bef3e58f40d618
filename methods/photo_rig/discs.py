"""A mesh as flat Gaussians: every triangle cut into small ones of its own shape, one disc on each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.heads import quaternions

COVER = 2.0
"""Deviations of a disc over those of a uniform triangle: so that six that meet hide nine tenths of what is behind."""
THIN = 0.08
"""Thickness of a disc over the root of its area."""
LEAST = 2e-5  # metres: no disc is smaller than that in any direction


@dataclass(frozen=True)
class Cells:
    """Small triangles of a mesh. ``faces`` (N,): the triangle each is cut from; ``corners`` (N, 3, 3): the barycentric
    coordinates of its three corners there."""

    faces: Tensor
    corners: Tensor

    @property
    def centres(self) -> Tensor:
        """(N, 3) barycentric coordinates."""
        return self.corners.mean(1)

    def points(self, attribute: Tensor, faces: Tensor) -> Tensor:
        """(N, C) at the centres, of a vertices' ``attribute`` (V, C) on a mesh of ``faces`` (F, 3)."""
        return (self.centres[..., None] * attribute[faces[self.faces]]).sum(1)

    def triangles(self, vertices: Tensor, faces: Tensor) -> Tensor:
        """(N, 3, 3): the corners on ``vertices`` (V, 3), metres."""
        return self.corners @ vertices[faces[self.faces]]


def cut(per_edge: NDArray[np.int64]) -> Cells:
    """Triangle f cut into ``per_edge[f]`` squared triangles, similar to itself; those of one triangle stand together.

    Raises ValueError for a number below one.
    """
    if len(per_edge) and per_edge.min() < 1:
        raise ValueError(f"a triangle is cut into at least one part an edge; one says {per_edge.min()}")
    faces, corners = [np.zeros(0, np.int64)], [np.zeros((0, 3, 3))]
    for parts in np.unique(per_edge):
        chosen = np.flatnonzero(per_edge == parts)
        pattern = _pattern(int(parts))
        faces.append(np.repeat(chosen, len(pattern)))
        corners.append(np.tile(pattern, (len(chosen), 1, 1)))
    order = np.argsort(np.concatenate(faces), kind="stable")
    found = np.concatenate(corners)[order].astype(np.float32)
    return Cells(torch.from_numpy(np.concatenate(faces)[order]), torch.from_numpy(found))


def discs(triangles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means (N, 3), quaternions (N, 4) w x y z and scales (N, 3), metres, of discs on ``triangles`` (N, 3, 3).

    In its plane a disc has :data:`COVER` times the deviations of a uniform triangle, so that stretched triangles get
    stretched discs; the third axis is the normal.
    """
    means = triangles.mean(1)
    spread = triangles - means[:, None]
    covariance = spread.transpose(1, 2) @ spread / 12  # of a uniform triangle
    values, axes = torch.linalg.eigh(covariance.double())  # ascending: the normal first
    axes = axes.flip(-1)
    axes[..., 2] = torch.linalg.cross(axes[..., 0], axes[..., 1])
    flat = COVER * values.flip(-1).clamp_min(0).sqrt()[:, :2]
    thin = THIN * (flat[:, 0] * flat[:, 1]).sqrt()
    scales = torch.stack([flat[:, 0], flat[:, 1], thin], 1).clamp_min(LEAST)
    turn = quaternions.from_matrix(axes)
    return means, turn.to(triangles), scales.to(triangles)


def _pattern(parts: int) -> NDArray[np.float64]:
    """(parts squared, 3, 3) barycentric corners of the small triangles, upright ones and those between."""
    found = []
    for i in range(parts):
        for j in range(parts - i):
            a, b, c = (i, j), (i + 1, j), (i, j + 1)
            found.append((a, b, c))
            if i + j < parts - 1:
                found.append(((i + 1, j), (i + 1, j + 1), (i, j + 1)))
    grid = np.array(found, float) / parts
    return np.concatenate([grid, 1 - grid.sum(-1, keepdims=True)], axis=-1)
