"""Unit quaternions, (w, x, y, z) as Gaussian splatting has them: from matrices, along a skeleton, and their product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def from_matrix(rotations: Tensor) -> Tensor:
    """(..., 4) with w >= 0, from rotation matrices (..., 3, 3); differentiable everywhere but at half turns.

    Four times the outer product of the quaternion is linear in the matrix; its row with the largest diagonal is divided
    by that diagonal's root, so that nothing small is divided by (Shepperd 1978).
    """
    r = rotations
    x, y, z = r[..., 0, 0], r[..., 1, 1], r[..., 2, 2]
    wx, wy, wz = r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]
    xy, xz, yz = r[..., 0, 1] + r[..., 1, 0], r[..., 0, 2] + r[..., 2, 0], r[..., 1, 2] + r[..., 2, 1]
    ww, xx, yy, zz = 1 + x + y + z, 1 + x - y - z, 1 - x + y - z, 1 - x - y + z
    squares = torch.stack([ww, xx, yy, zz], -1)
    outer = torch.stack(
        [ww, wx, wy, wz, wx, xx, xy, xz, wy, xy, yy, yz, wz, xz, yz, zz],
        -1,
    ).unflatten(-1, (4, 4))
    best = squares.argmax(-1, keepdim=True)
    row = outer.gather(-2, best[..., None].expand(*best.shape, 4))[..., 0, :]
    found = row / (2 * squares.gather(-1, best).sqrt())
    return torch.where(found[..., :1] < 0, -found, found)


def to_matrix(quaternions: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of quaternions (..., 4) of any length but zero."""
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """(..., 4): the product ab, which turns by b first; batch axes are broadcast."""
    return (right_matrix(b.movedim(-1, 0)).movedim((0, 1), (-2, -1)) @ a[..., None])[..., 0]


def right_matrix(b: Tensor) -> Tensor:
    """(4, 4, ...) that takes a to the product ab, for ``b`` (4, ...): components first, as in :func:`blend`."""
    w, x, y, z = b.unbind(0)
    columns = [[w, x, y, z], [-x, w, -z, y], [-y, z, w, -x], [-z, -y, x, w]]
    return torch.stack([torch.stack(column) for column in columns], 1)


def chain(parents: Sequence[int], rotations: Tensor) -> Tensor:
    """(B, J, 4): each joint's rotation in the world, from ``rotations`` (B, J, 3, 3) relative to its parent.

    q and -q are one rotation, but not when blended. A child's sign follows its parent's, which is right for every joint
    that turns by less than half a turn.
    """
    local = from_matrix(rotations).unbind(1)
    world: list[Tensor] = []
    for joint, parent in enumerate(parents):
        world.append(local[joint] if parent < 0 else multiply(world[parent], local[joint]))
    return torch.stack(world, 1)


def blend(weights: Tensor, quaternions: Tensor) -> Tensor:
    """(B, 4, N): the normalised means of ``quaternions`` (B, J, 4) under ``weights`` (J, N).

    Between two joints this lies within 0.2 degrees of the rotation nearest to the blended matrix (its polar part) when
    they differ by 30 degrees, and within 1 when they differ by 60.
    """
    mean = quaternions.transpose(1, 2) @ weights
    return mean * mean.square().sum(1, keepdim=True).clamp_min(1e-24).rsqrt()  # vector_norm is slow across memory


def turn(matrix: Tensor, quaternions: Tensor) -> Tensor:
    """(B, 4, N): each of ``quaternions`` (B, 4, N) times what a ``matrix`` (4, 4, N) of :func:`right_matrix` is of."""
    found = matrix[:, 0] * quaternions[:, 0:1]
    for i in (1, 2, 3):
        found = torch.addcmul(found, matrix[:, i], quaternions[:, i : i + 1])
    return found
