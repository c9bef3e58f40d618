"""A rig with fewer faces that moves as the full one does: its vertices are points bound to the full rig's surface."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.heads.binding import barycentric
from avatarbench.heads.rig import Rig

AGGRESSION = 5.0
_POINTS = 64  # points compared with all triangles at once


class Decimated(NamedTuple):
    """``faces`` (F', 3) into V' vertices, each the mean of three of the full rig's: ``corners`` (V', 3) with
    ``weights`` (V', 3), all at least zero, summing to one."""

    faces: Tensor
    corners: Tensor
    weights: Tensor

    def vertices(self, full: Tensor) -> Tensor:
        """(..., V', 3) from the full rig's posed vertices (..., V, 3)."""
        return (full[..., self.corners, :] * self.weights[..., None]).sum(-2)


def decimate(rig: Rig, count: int) -> Decimated:
    """About ``count`` faces of ``rig``, by quadric edge collapse on its template (Garland and Heckbert 1997).

    Each remaining vertex is carried to the nearest place of the full surface, so that any motion of the full rig,
    whatever makes it, moves the small one too. Deterministic. Raises DataError for a count that leaves nothing or more
    than there is.
    """
    import fast_simplification

    total = len(rig.faces)
    if not 20 <= count <= total:
        raise DataError(f"the rig '{rig.name}' has {total} faces and cannot be decimated to {count}.")
    template = rig.template.detach().cpu()
    points, faces = fast_simplification.simplify(
        template.numpy(), rig.faces.cpu().numpy().astype(np.int32), target_count=count, agg=AGGRESSION
    )
    points, faces = _used(points, faces)
    bound, weights = nearest(torch.from_numpy(points).to(template), template, rig.faces.cpu())
    return Decimated(torch.from_numpy(faces.astype(np.int64)), rig.faces.cpu()[bound], weights)


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


def _used(points: NDArray[np.float32], faces: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Without vertices that no face names."""
    used, renamed = np.unique(faces, return_inverse=True)
    return points[used], renamed.reshape(faces.shape).astype(np.int32)
