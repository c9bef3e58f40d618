"""Linear blend skinning, coordinates first: the long axis (vertices or points) is last, where memory runs along it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def batch_of(*tensors: Tensor) -> int:
    """The batch of tensors of which some may have one of one. Where others differ, expanding to it raises."""
    return next((len(tensor) for tensor in tensors if len(tensor) != 1), 1)


def chain(parents: Sequence[int], joints: Tensor, rotations: Tensor) -> Tensor:
    """(B, J, 4, 4) from rest to posed space, for ``joints`` (B, J, 3) at rest and ``rotations`` (B, J, 3, 3).

    Either may have a batch of one. A rotation is about its joint and relative to its parent, ``parents[j] < j``, -1
    for the root. Source: Li et al. 2017 (FLAME), equation 2.
    """
    batch = batch_of(joints, rotations)
    joints, rotations = joints.expand(batch, -1, -1), rotations.expand(batch, -1, -1, -1)
    rotated: list[Tensor] = []
    moved: list[Tensor] = []  # where each joint ends up
    for joint, parent in enumerate(parents):
        if parent < 0:
            rotated.append(rotations[:, joint])
            moved.append(joints[:, joint])
        else:
            arm = (joints[:, joint] - joints[:, parent])[..., None]
            moved.append(moved[parent] + (rotated[parent] @ arm)[..., 0])
            rotated.append(rotated[parent] @ rotations[:, joint])
    linear, position = torch.stack(rotated, 1), torch.stack(moved, 1)
    translation = position[..., None] - linear @ joints[..., None]
    bottom = linear.new_tensor([0.0, 0.0, 0.0, 1.0]).expand(*linear.shape[:2], 1, 4)
    return torch.cat([torch.cat([linear, translation], -1), bottom], -2)


def moved_by(transforms: Tensor, translation: Tensor | None) -> Tensor:
    """``transforms`` (B, J, 4, 4) followed by ``translation`` (B, 3) or (3,) metres, or as they are for None.

    Either may have a batch of one.
    """
    if translation is None:
        return transforms
    translation = translation.reshape(-1, 3)
    transforms = transforms.expand(batch_of(transforms, translation), -1, -1, -1)
    lift = torch.zeros_like(transforms)
    lift[..., :3, 3] = translation[:, None]
    return transforms + lift


def skin(points: Tensor, weights: Tensor, transforms: Tensor) -> Tensor:
    """(B, 3, N): each point moved by the mean of the ``transforms`` (B, J, 4, 4) under its ``weights`` (J, N).

    ``points``: (B, 3, N) or (1, 3, N). One matrix product blends all matrices; three fused steps apply them.
    """
    matrices = transforms[:, :, :3].flatten(2).transpose(1, 2)  # (B, 12, J)
    blended = (matrices @ weights).unflatten(1, (3, 4))  # (B, 3, 4, N)
    found = torch.addcmul(blended[:, :, 3], blended[:, :, 0], points[:, 0:1])
    found = torch.addcmul(found, blended[:, :, 1], points[:, 1:2])
    return torch.addcmul(found, blended[:, :, 2], points[:, 2:3])


def cached_frames(points: int, device: torch.device) -> int:
    """How many frames of ``points`` points to skin at once: on a CPU what its cache holds, else what memory does."""
    return max(1, (1 << 17 if device.type == "cpu" else 1 << 23) // max(points, 1))
