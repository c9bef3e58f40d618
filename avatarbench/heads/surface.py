"""The nearest place of a triangle mesh."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarbench.heads.binding import barycentric

_POINTS = 64  # points compared with all triangles at once


def nearest(points: Tensor, vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest place of a mesh to each of ``points`` (N, 3): its face (N,) and barycentric coordinates (N, 3)."""
    corners = vertices[faces]  # (F, 3, 3)
    found_faces, found_weights = [], []
    for part in points.split(_POINTS):
        each = len(part)
        repeated = part[:, None].expand(-1, len(faces), -1).reshape(-1, 3)
        triangles = corners[None].expand(each, -1, -1, -1).reshape(-1, 3, 3)
        weights = _onto(repeated, triangles)
        distance = ((weights[..., None] * triangles).sum(1) - repeated).square().sum(1).reshape(each, len(faces))
        best = distance.argmin(1)
        found_faces.append(best)
        found_weights.append(weights.reshape(each, len(faces), 3)[torch.arange(each), best])
    return torch.cat(found_faces), torch.cat(found_weights)


def _onto(points: Tensor, triangles: Tensor) -> Tensor:
    """(M, 3) coordinates of the nearest place of each triangle (M, 3, 3) to each point (M, 3): inside, or on an
    edge."""
    inside = barycentric(points, triangles)
    weights = inside.clone()
    best = torch.full_like(points[:, 0], torch.inf)
    outside = (inside < 0).any(1)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, edge = triangles[:, first], triangles[:, second] - triangles[:, first]
        along = ((points - start) * edge).sum(1) / edge.square().sum(1).clamp_min(1e-20)
        along = along.clamp(0, 1)
        distance = (start + along[:, None] * edge - points).square().sum(1)
        better = outside & (distance < best)
        best = torch.where(better, distance, best)
        on_edge = torch.zeros_like(weights)
        on_edge[:, first], on_edge[:, second] = 1 - along, along
        weights = torch.where(better[:, None], on_edge, weights)
    return weights
