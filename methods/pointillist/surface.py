"""Samples of a head's surface: what the point encoder is told of the tracked face."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.tokenizer import Tokenizer, to_sequence


def sample_surface(vertices: Tensor, faces: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(S, 6) float32: ``count`` places, uniform by area, of a mesh of ``vertices`` (V, 3) metres and ``faces`` (F, 3),
    each with the unit normal of its face (Michelangelo's samples have face normals too), which looks to where the
    corners run counter-clockwise.

    Drawn independently, from ``generator`` alone; a face without area is never drawn. Raises DataError for a mesh
    without area, a vertex that is not finite, and a face that names no vertex.
    """
    _check(vertices, faces, count)
    corners = vertices.detach().double()[faces]
    cross = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    doubled = cross.norm(dim=1)  # areas, twice
    total = doubled.cumsum(0)
    drawable = torch.nonzero(doubled)[:, 0]
    if not len(drawable):
        raise DataError(f"a mesh of {len(faces)} faces without area has no surface to sample.")
    drawn = torch.rand(count, 3, dtype=torch.float64, generator=generator, device=generator.device).to(corners.device)
    # The first total above the draw: a face without area adds nothing to it, so it is never the first. A draw that
    # rounds up to the whole total would find none.
    face = torch.searchsorted(total, drawn[:, 0].contiguous() * total[-1], right=True).clamp_max(int(drawable[-1]))
    root = drawn[:, 1:2].sqrt()
    weights = torch.cat([1 - root, root * (1 - drawn[:, 2:]), root * drawn[:, 2:]], 1)
    places = (weights[..., None] * corners[face]).sum(1)
    return torch.cat([places, cross[face] / doubled[face, None]], 1).float()


def normalised(samples: Tensor, tokenizer: Tokenizer) -> Tensor:
    """``samples`` (..., 6) in the rig's axes as the model sees them: in the sequence's axes, positions in [-1, 1] over
    the tokenizer's cube (beyond it where they lie outside), normals turned and not scaled."""
    low = torch.tensor(tokenizer.cube.low, dtype=torch.float64, device=samples.device)
    places = to_sequence(samples[..., :3].double(), tokenizer.up)
    places = (places - low) / tokenizer.cube.side * 2 - 1
    return torch.cat([places.to(samples.dtype), to_sequence(samples[..., 3:], tokenizer.up)], -1)


def _check(vertices: Tensor, faces: Tensor, count: int) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        raise DataError(f"vertices {tuple(vertices.shape)} and faces {tuple(faces.shape)} are no (V, 3) and (F, 3).")
    if count < 1:
        raise DataError(f"{count} samples of a surface were asked for: ask for one or more.")
    low, high = int(faces.min()), int(faces.max())
    if low < 0 or high >= len(vertices):
        raise DataError(f"the faces name vertices {low} to {high}, and there are {len(vertices)}: another rig's faces?")
    if not bool(torch.isfinite(vertices).all()):
        bad = int((~torch.isfinite(vertices).all(1)).sum())
        raise DataError(f"{bad} of {len(vertices)} vertices are not finite: track the face anew.")
