"""How well a cloud of points matches another, and its bindings a mesh."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.heads.surface import nearest
from avatarbench.methods.pointillist.tokenizer import BINDING, SLOTS, Vocabulary, Y

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

HOLDS = 1e-4
"""A corner with less barycentric weight takes no part in the nearest place."""


class Coverage(NamedTuple):
    """``precision``: share of the generated points with a true one within reach; ``recall``: the other way round."""

    precision: float
    recall: float


class Agreement(NamedTuple):
    """Shares of points. ``exact``: the bound face holds the mesh's place that is nearest to the point; ``near``: it
    shares a corner with a face that does."""

    exact: float
    near: float


class Indexed:
    """Points (N, 3), and a tree over them that is built once, where it is first needed. Raises DataError for a cloud
    without points or with a coordinate that is not finite."""

    def __init__(self, points: Tensor, name: str = "cloud") -> None:
        if points.ndim != 2 or points.shape[1] != 3 or not len(points):
            raise DataError(f"a distance is between (N, 3) points; the {name} is {tuple(points.shape)}.")
        if not bool(torch.isfinite(points).all()):
            raise DataError(f"the {name} has a coordinate that is not finite.")
        self.points: NDArray[np.float64] = points.detach().cpu().double().numpy()

    @cached_property
    def tree(self) -> cKDTree:
        from scipy.spatial import cKDTree

        return cKDTree(self.points)


Cloud = Tensor | Indexed
"""Points (N, 3), metres; indexed where they are compared with more than one other cloud."""


def distances(a: Cloud, b: Cloud) -> NDArray[np.float64]:
    """(N,) metres from each of ``a`` (N, 3) to the nearest of ``b`` (M, 3); exact. Raises DataError as
    :class:`Indexed`."""
    first, second = _indexed(a, "first cloud"), _indexed(b, "second cloud")
    return np.asarray(second.tree.query(first.points)[0], np.float64)


def chamfer(a: Cloud, b: Cloud) -> float:
    """Metres: the mean of the two directed mean distances to the nearest point (not squared), ``a`` (N, 3) and ``b``
    (M, 3). Raises DataError as :func:`distances`."""
    a, b = _indexed(a, "first cloud"), _indexed(b, "second cloud")
    return float((distances(a, b).mean() + distances(b, a).mean()) / 2)


def coverage(generated: Cloud, true: Cloud, reach: float) -> Coverage:
    """Within ``reach`` metres. Raises DataError as :func:`distances`."""
    return Coverage(
        float((distances(generated, true) <= reach).mean()), float((distances(true, generated) <= reach).mean())
    )


def count_error(generated: int, true: int) -> float:
    """Relative and signed: 0.1 is a tenth too many."""
    if true < 1:
        raise DataError("a cloud without points has no count to compare with.")
    return generated / true - 1


def agreement(positions: Tensor, bindings: Tensor, vertices: Tensor, faces: Tensor) -> Agreement:
    """Of points (N, 3) bound to faces (N,) with a mesh, (V, 3) metres and (F, 3).

    A place on an edge belongs to both faces, and one at a corner to all of its faces: outside a convex edge a whole
    wedge of points has the edge nearest. Raises DataError for a binding that is no face of the mesh.
    """
    if not len(positions):
        raise DataError("a cloud without points has no bindings to compare.")
    if bool(((bindings < 0) | (bindings >= len(faces))).any()):
        raise DataError(f"bindings {int(bindings.min())} to {int(bindings.max())} on a mesh of {len(faces)} faces.")
    found, weights = nearest(positions.float(), vertices.float(), faces)
    corners, bound = faces[found], faces[bindings]  # (N, 3) each
    shared = (corners[:, :, None] == bound[:, None, :]).any(2)
    exact = (shared | (weights < HOLDS)).all(1)
    near = exact | _neighbours(corners, weights, bound, faces)
    return Agreement(float(exact.double().mean()), float(near.double().mean()))


def fault(tokens: Tensor, vocabulary: Vocabulary) -> str | None:
    """What the grammar has against a whole sequence (T,), start and end blocks included, or None: at least one point,
    coordinates and bindings in their places, y never decreasing, and nothing but padding after the end."""
    v, body = vocabulary, tokens.reshape(-1).long()
    if len(body) < SLOTS or not bool((body[:SLOTS] == v.start).all()):
        return "it does not begin with a start block"
    body = body[SLOTS:]
    special = torch.nonzero((body >= v.start) | (body < 0))[:, 0]
    first = int(special[0]) if len(special) else len(body)
    if first % SLOTS or first == len(body) or not bool((body[first : first + SLOTS] == v.end).all()):
        return "a point is not whole, or no end block follows the points"
    if len(body) < first + SLOTS or not bool((body[first + SLOTS :] == v.pad).all()):
        return "its end block is not whole, or something follows it"
    if first == 0:
        return "it has no point"
    rows = body[:first].reshape(-1, SLOTS)
    wrong = rows >= v.levels
    wrong[:, BINDING] = ~wrong[:, BINDING]
    if bool(wrong.any()):
        return "a coordinate stands for a binding, or a binding for a coordinate"
    return "its y decreases" if bool((rows[1:, Y] < rows[:-1, Y]).any()) else None


def _indexed(cloud: Cloud, name: str) -> Indexed:
    return cloud if isinstance(cloud, Indexed) else Indexed(cloud, name)


def _neighbours(corners: Tensor, weights: Tensor, bound: Tensor, faces: Tensor) -> Tensor:
    """(N,) bool: some face that holds the nearest place shares a corner with the bound one."""
    touches = (corners[:, :, None] == bound[:, None, :]).any(2).any(1)
    for index in torch.nonzero(~touches & (weights < HOLDS).any(1))[:, 0].tolist():  # the place is on an edge
        holds = corners[index][weights[index] >= HOLDS]
        around = faces[(faces[:, :, None] == holds).any(1).all(1)]  # (K, 3): every face of that edge or corner
        touches[index] = bool(torch.isin(bound[index], around).any())
    return touches
