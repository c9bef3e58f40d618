"""A rig with fewer faces that moves as the full one does: its vertices are points bound to the full rig's surface."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.heads.rig import Rig, RigArrays
from avatarbench.heads.surface import nearest

AGGRESSION = 5.0


class Decimated(NamedTuple):
    """``faces`` (F', 3) into V' vertices, each the mean of three of the full rig's: ``corners`` (V', 3) with
    ``weights`` (V', 3), all at least zero, summing to one."""

    faces: Tensor
    corners: Tensor
    weights: Tensor

    def vertices(self, full: Tensor) -> Tensor:
        """(..., V', 3) from the full rig's posed vertices (..., V, 3)."""
        return (full[..., self.corners, :] * self.weights[..., None]).sum(-2)

    def rig(self, full: Rig, rest: Tensor, joints: Tensor) -> Rig:
        """One subject's own rig on these faces: every vertex has the weighted mean of what its three corners have.

        ``rest`` (V, 3) and ``joints`` (J, 3): of the full rig, with the subject's shape and offsets in them. It has no
        shapes and no texture coordinates.
        """

        def carried(attribute: Tensor) -> NDArray[np.float32]:  # (V, ...) -> (V', ...)
            flat = self.vertices(attribute.flatten(1))
            return np.asarray(flat.unflatten(1, attribute.shape[1:]).numpy(), np.float32)

        first = full.shape_directions.shape[-1]
        arrays = RigArrays(
            template=carried(rest),
            faces=self.faces.numpy(),
            uvs=np.zeros((0, 2), np.float32),
            uv_faces=np.zeros((0, 3), np.int64),
            shape_directions=np.zeros((len(self.corners), 3, 0), np.float32),
            expression_directions=carried(full.expression_directions),
            joints=np.asarray(joints.numpy(), np.float32),
            joint_directions=np.asarray(full.joint_directions[..., first:].numpy(), np.float32),
            skinning=carried(full.skinning),
            pose_directions=carried(full.pose_directions),
        )
        return Rig(full.name, arrays, full.parents, full.joint_names, [], full.expression_names)


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


def _used(points: NDArray[np.float32], faces: NDArray[np.int32]) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Without vertices that no face names."""
    used, renamed = np.unique(faces, return_inverse=True)
    return points[used], renamed.reshape(faces.shape).astype(np.int32)
