"""Gaussians that live in the frames of a mesh's triangles and move with them (GaussianAvatars, Qian et al. 2024)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from avatarbench.gaussians.cloud import Cloud
from avatarbench.heads import quaternions as quaternion

LEAST = 1e-6
"""Metres under which an edge or a normal has no direction: a triangle without area keeps what axes it can. A frame of a
smaller scale holds no local coordinates."""


class Frames(NamedTuple):
    """A frame a triangle. ``rotation`` (..., F, 3, 3), columns the axes; ``origin`` (..., F, 3) metres, the centroid;
    ``scale`` (..., F) metres, the mean of an edge and its height."""

    rotation: Tensor
    origin: Tensor
    scale: Tensor

    def of(self, bindings: Tensor) -> Frames:
        """The frames of the bound triangles: (..., N, ...)."""
        return Frames(self.rotation[..., bindings, :, :], self.origin[..., bindings, :], self.scale[..., bindings])


def face_frames(vertices: Tensor, faces: Tensor) -> Frames:
    """Frames of triangles ``faces`` (F, 3) of ``vertices`` (..., V, 3).

    First axis: the edge from the first corner to the second; second: the normal; third: minus the cross product of the
    normal with the first. Origin: the centroid. Scale: half the sum of the first edge and of the height over it (the
    paper's equation 1 and the description of its local frames).
    """
    a, b, c = vertices[..., faces, :].unbind(-2)
    edge, side = b - a, c - a
    first = _unit(edge)
    second = _unit(torch.linalg.cross(first, side))
    third = -_unit(torch.linalg.cross(second, first))
    scale = 0.5 * (edge.norm(dim=-1) + (third * side).sum(-1).abs())
    return Frames(torch.stack([first, second, third], -1), (a + b + c) / 3, scale)


def to_world(local: Cloud, frames: Frames, bindings: Tensor | None = None) -> Cloud:
    """A cloud in its triangles' frames, in the world: mu' = k R mu + T, r' = R r, s' = k s.

    ``frames``: one for each Gaussian (:meth:`Frames.of` its bindings), without batch dimensions; or those of a mesh,
    with ``bindings`` (N,), which is quicker for more Gaussians than triangles.
    """
    turns = quaternion.from_matrix(frames.rotation)
    if bindings is not None:
        turns, frames = turns[bindings], frames.of(bindings)
    return replace(
        local,
        means=frames.scale[:, None] * (frames.rotation @ local.means[..., None])[..., 0] + frames.origin,
        quaternions=quaternion.multiply(turns, local.quaternions),
        scales=frames.scale[:, None] * local.scales,
    )


def to_local(world: Cloud, frames: Frames) -> Cloud:
    """The inverse of :func:`to_world`, for frames of a scale of :data:`LEAST` or more."""
    back = frames.rotation.transpose(-1, -2)
    scale = frames.scale[:, None].clamp_min(LEAST)
    return replace(
        world,
        means=(back @ (world.means - frames.origin)[..., None])[..., 0] / scale,
        quaternions=turned(back, world.quaternions),
        scales=world.scales / scale,
    )


def turned(rotation: Tensor, quaternions: Tensor) -> Tensor:
    """``quaternions`` (..., 4), w x y z, after ``rotation`` (..., 3, 3); their length is kept."""
    return quaternion.multiply(quaternion.from_matrix(rotation), quaternions)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.square().sum(-1, keepdim=True).clamp_min(LEAST**2).sqrt()
