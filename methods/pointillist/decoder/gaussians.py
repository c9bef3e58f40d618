"""Points on their way into the decoder, and Gaussians on their way out."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.gaussians.cloud import Cloud
from avatarbench.methods.pointillist.decoder.model import Attributes
from avatarbench.methods.pointillist.tokenizer import Points, Tokenizer, to_sequence


def inputs_of(points: Points, tokenizer: Tokenizer) -> Tensor:
    """(N, 3) float32: positions as the decoder reads them, in the sequence's axes and in [-1, 1] over the tokenizer's
    cube (beyond it where a rig's vertex lies outside). Points that were decoded from tokens stand at the middles of
    their bins already, and are not quantised anew."""
    low = torch.tensor(tokenizer.cube.low, dtype=torch.float64, device=points.positions.device)
    places = to_sequence(points.positions.double(), tokenizer.up)
    return ((places - low) / tokenizer.cube.side * 2 - 1).float()


def cloud_of(points: Points, attributes: Attributes) -> Cloud:
    """The canonical cloud (Eq. 1) of one subject: ``points`` of N, in the rig's axes, each moved by its offset, and N
    rows of ``attributes``. Differentiable in these. Raises DataError for another number of rows."""
    if attributes.opacities.shape != points.bindings.shape:
        raise DataError(
            f"attributes of {tuple(attributes.opacities.shape)} do not belong to {len(points.bindings)} points: take "
            "one subject's, without its padding."
        )
    return Cloud(
        means=points.positions + attributes.offsets,
        quaternions=attributes.quaternions,
        scales=attributes.scales,
        opacities=attributes.opacities,
        colours=attributes.colours,
        bindings=points.bindings,
    )


def rig_points(vertices: Tensor, faces: Tensor) -> Points:
    """The variant without stage one: every vertex (V, 3) of the mesh at rest, metres, bound to the largest of the
    ``faces`` (F, 3) that it is a corner of (of a sliver, barycentric coordinates are mostly rounding), the first of
    equals. Vertices of no face are no part of the surface and left out. Raises DataError where none is left."""
    corners = vertices.detach().double()[faces]
    doubled = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    order = torch.argsort(doubled, descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(len(order), device=order.device)
    best = torch.full((len(vertices),), len(faces), dtype=torch.long, device=faces.device)
    best.scatter_reduce_(0, faces.reshape(-1), ranks.repeat_interleave(3), "amin")
    kept = best < len(faces)
    if not bool(kept.any()):
        raise DataError(f"a mesh of {len(vertices)} vertices and {len(faces)} faces has no point on its surface.")
    return Points(vertices[kept].float(), order[best[kept]])
