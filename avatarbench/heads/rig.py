"""A head rig: linear shape and expression, joints, pose correctives, linear blend skinning; batched, differentiable.

The form is FLAME's (Li et al. 2017, equations 1-3); Anny's head fits into it, since its phenotypes, local changes and
facial actions are linear offsets of vertices and of joints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.heads import skinning


@dataclass(frozen=True)
class RigArrays:
    """What a rig is made of. Metres; V vertices, F triangles, T texture coordinates, J joints, S shapes, E expressions.

    ``template`` (V, 3); ``faces`` (F, 3); ``uvs`` (T, 2) in [0, 1], v up; ``uv_faces`` (F, 3) into ``uvs``, or
    (0, 2) and (0, 3) for a rig without texture coordinates;
    ``shape_directions`` (V, 3, S); ``expression_directions`` (V, 3, E); ``joints`` (J, 3) of the template;
    ``joint_directions`` (J, 3, S + E); ``skinning`` (V, J), rows sum to one; ``pose_directions`` (V, 3, 9 (J - 1)) or
    (V, 3, 0), applied to R - I of every joint but the first, row-major; ``parents``: -1 for the root, else less than
    the joint's own index.
    """

    template: NDArray[np.float32]
    faces: NDArray[np.int64]
    uvs: NDArray[np.float32]
    uv_faces: NDArray[np.int64]
    shape_directions: NDArray[np.float32]
    expression_directions: NDArray[np.float32]
    joints: NDArray[np.float32]
    joint_directions: NDArray[np.float32]
    skinning: NDArray[np.float32]
    pose_directions: NDArray[np.float32]

    def check(self, parents: Sequence[int]) -> Self:
        """Itself. Raises DataError naming the array whose shape, type or content cannot be a rig's."""
        v, f, j = len(self.template), len(self.faces), len(parents)
        s, e = self.shape_directions.shape[-1], self.expression_directions.shape[-1]
        p = self.pose_directions.shape[-1]
        expected = {
            "template": (v, 3),
            "faces": (f, 3),
            "uvs": (len(self.uvs), 2),
            "uv_faces": (f if len(self.uvs) else 0, 3),
            "shape_directions": (v, 3, s),
            "expression_directions": (v, 3, e),
            "joints": (j, 3),
            "joint_directions": (j, 3, s + e),
            "skinning": (v, j),
            "pose_directions": (v, 3, p),
        }
        for field in fields(self):
            array = getattr(self, field.name)
            if array.shape != expected[field.name]:
                raise DataError(f"the rig's '{field.name}' is {array.shape}, where {expected[field.name]} is expected.")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise DataError(f"the rig's '{field.name}' holds NaN or infinite values.")
        if p not in (0, 9 * (j - 1)):
            raise DataError(f"the rig's 'pose_directions' has {p} columns; {j} joints need {9 * (j - 1)}, or none.")
        for name, limit in (("faces", v), ("uv_faces", len(self.uvs))):
            array = getattr(self, name)
            if array.dtype.kind not in "iu":
                raise DataError(f"the rig's '{name}' holds {array.dtype}, not integers.")
            wrong = array[(array < 0) | (array >= limit)]
            if wrong.size:
                raise DataError(f"the rig's '{name}' names index {wrong[0]}, and there are {limit}.")
        if parents[0] != -1 or any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
            raise DataError(f"the rig's joints {tuple(parents)} are not a tree with every parent before its children.")
        if not np.allclose(self.skinning.sum(axis=1), 1, atol=1e-4):
            raise DataError("the rig's 'skinning' has rows that do not sum to one.")
        return self


class Posed(NamedTuple):
    """A batch of posed heads. ``vertices`` (B, V, 3) metres; ``transforms`` (B, J, 4, 4) from rest to posed space;
    ``rest`` (B, V, 3): shaped, expressed and corrected, not yet skinned; ``joints`` (B, J, 3): posed."""

    vertices: Tensor
    transforms: Tensor
    rest: Tensor
    joints: Tensor


class Rig(torch.nn.Module):
    """The arrays of :class:`RigArrays` as buffers of the same names, with what animates them.

    Rotations are about a joint and in the axes of the rest pose, each relative to the joint's parent.
    """

    template: Tensor
    faces: Tensor
    uvs: Tensor
    uv_faces: Tensor
    shape_directions: Tensor
    expression_directions: Tensor
    joints: Tensor
    joint_directions: Tensor
    skinning: Tensor
    pose_directions: Tensor

    def __init__(
        self,
        name: str,
        arrays: RigArrays,
        parents: Sequence[int],
        joint_names: Sequence[str],
        shape_names: Sequence[str],
        expression_names: Sequence[str],
    ) -> None:
        super().__init__()
        self.name = name
        self.parents = tuple(int(p) for p in parents)
        self.joint_names, self.shape_names = tuple(joint_names), tuple(shape_names)
        self.expression_names = tuple(expression_names)
        arrays.check(self.parents)
        for field in fields(arrays):
            self.register_buffer(field.name, torch.from_numpy(np.ascontiguousarray(getattr(arrays, field.name))))

    def rest(self, shape: Tensor, expression: Tensor, offsets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Vertices (B, V, 3) and joints (B, J, 3) before any pose.

        ``shape`` (B, S'), ``expression`` (B, E'): the first coefficients, the others are zero; either may have a batch
        of one. ``offsets`` (V, 3) or (B, V, 3) metres are added to the vertices, and to the joints where the rig
        regresses them from the vertices.
        """
        s, e = shape.shape[-1], expression.shape[-1]
        vertices = (
            self.template
            + torch.einsum("vcs,bs->bvc", self.shape_directions[..., :s], shape)
            + torch.einsum("vce,be->bvc", self.expression_directions[..., :e], expression)
        )
        first = self.shape_directions.shape[-1]
        joints = (
            self.joints
            + torch.einsum("jcs,bs->bjc", self.joint_directions[..., :s], shape)
            + torch.einsum("jce,be->bjc", self.joint_directions[..., first : first + e], expression)
        )
        return (vertices if offsets is None else vertices + offsets), joints

    def transforms(self, joints: Tensor, rotations: Tensor) -> Tensor:
        """(B, J, 4, 4) from rest to posed space, for ``joints`` (B, J, 3) and ``rotations`` (B, J, 3, 3)."""
        return skinning.chain(self.parents, joints, rotations)

    def forward(
        self,
        shape: Tensor,
        expression: Tensor,
        rotations: Tensor,
        translation: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> Posed:
        """Heads under ``rotations`` (B, J, 3, 3) and ``translation`` (B, 3) metres; the rest as in :meth:`rest`.

        Any of them may have a batch of one, which goes for all heads of the others.
        """
        rest, joints = self.rest(shape, expression, offsets)
        if self.pose_directions.shape[-1]:
            feature = (rotations[:, 1:] - torch.eye(3, dtype=rest.dtype, device=rest.device)).flatten(1)
            rest = rest + torch.einsum("vcp,bp->bvc", self.pose_directions, feature)
        transforms = skinning.moved_by(self.transforms(joints, rotations), translation)
        batch = skinning.batch_of(rest, transforms)  # offsets of a batch move no joints
        transforms, rest = transforms.expand(batch, -1, -1, -1), rest.expand(batch, -1, -1)
        vertices = skinning.skin(rest.transpose(1, 2), self.skinning.T, transforms).transpose(1, 2).contiguous()
        posed = (transforms[..., :3, :3] @ joints[..., None])[..., 0] + transforms[..., :3, 3]
        return Posed(vertices, transforms, rest, posed)

    def rotations(self, vectors: Mapping[str, Any] | None = None, batch: int = 1) -> Tensor:
        """(B, J, 3, 3) from axis-angle radians by joint name, each (3,) or (B, 3); joints not named do not turn.

        B is the batch of the vectors, or ``batch`` where that is larger and they have one of one. Raises ValueError for
        a joint that the rig does not have, and for batches that differ.
        """
        dtype, device = self.template.dtype, self.template.device
        turned: dict[int, Tensor] = {}
        for name, vector in (vectors or {}).items():
            if name not in self.joint_names:
                raise ValueError(f"the rig '{self.name}' has no joint '{name}'; it has {', '.join(self.joint_names)}")
            own = torch.as_tensor(vector, dtype=dtype, device=device).reshape(-1, 3)
            turned[self.joint_names.index(name)] = rotation_matrix(own)
        sizes = {batch, *map(len, turned.values())}
        if len(sizes - {1}) > 1:
            raise ValueError(
                f"the rotations have batches of {', '.join(map(str, sorted(sizes)))}: one size is expected"
            )
        found = torch.eye(3, dtype=dtype, device=device).repeat(max(sizes), len(self.parents), 1, 1)
        for joint, matrices in turned.items():
            found[:, joint] = matrices
        return found


def rotation_matrix(vector: Tensor) -> Tensor:
    """Axis-angle (..., 3) radians to rotation matrices (..., 3, 3); smooth at zero, by the matrix exponential."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(skew)


def faces_digest(faces: Tensor) -> str:
    """sha256 of corners (F, 3), whatever integers they are."""
    return hashlib.sha256(faces.detach().cpu().long().contiguous().numpy().tobytes()).hexdigest()
