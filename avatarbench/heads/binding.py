"""Points bound to the faces of a rig: what they inherit by barycentric transfer, and how that moves them.

Source: AvatarPointillist, section 4.3 and equation 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.heads import quaternions as quaternion
from avatarbench.heads import skinning
from avatarbench.heads.rig import Rig

FLAT = 1e-5
"""A triangle whose height is below this part of its longest edge has no plane to project to."""
_FRAMES = 32  # frames whose offsets are computed in one matrix product


@dataclass(frozen=True)
class Binding:
    """N points with a rig's attributes. E expressions, P pose features (0 without correctives), J joints.

    ``points`` (N, 3): canonical, metres; ``faces`` (N,); ``barycentric`` (N, 3); ``directions`` (E + P, 3, N) and
    ``weights`` (J, N): expression directions, pose correctives and skinning, stored as animation reads them; ``joints``
    (J, 3) at rest and ``joint_directions`` (E, 3 J), of the subject; ``parents``: as the rig's.
    """

    points: Tensor
    faces: Tensor
    barycentric: Tensor
    directions: Tensor
    weights: Tensor
    joints: Tensor
    joint_directions: Tensor
    parents: tuple[int, ...]

    @property
    def skinning(self) -> Tensor:
        """(N, J) view."""
        return self.weights.T

    @property
    def expression_directions(self) -> Tensor:
        """(N, 3, E) view."""
        return self.directions[: len(self.joint_directions)].permute(2, 1, 0)

    @property
    def pose_directions(self) -> Tensor:
        """(N, 3, P) view."""
        return self.directions[len(self.joint_directions) :].permute(2, 1, 0)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The binding on another device or in another floating type, as ``torch.Tensor.to``; faces stay integers."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("faces", "parents")}
        moved = {name: tensor.to(*args, **kwargs) for name, tensor in tensors.items()}
        return replace(self, faces=self.faces.to(moved["points"].device), **moved)


class Animated(NamedTuple):
    """``points`` (B, N, 3) metres; ``quaternions`` (B, N, 4), w first, or None where none were given."""

    points: Tensor
    quaternions: Tensor | None


def barycentric(points: Tensor, corners: Tensor, clamp: bool = False) -> Tensor:
    """(N, 3) coordinates of ``points`` (N, 3) in the triangles ``corners`` (N, 3, 3), summing to one; differentiable.

    A point is projected along the triangle's normal; outside the triangle a coordinate is negative, or, with ``clamp``,
    set to zero and the others divided by their sum. In a flat triangle (:data:`FLAT`) the point goes to the nearest
    place of its longest edge, and if all corners coincide each has a third.
    """
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    edges = torch.stack([a, corners[:, 2] - corners[:, 1], -b], 1)  # from each corner to the next
    squares = edges.square().sum(-1)
    longest, index = squares.detach().max(1)
    normal = _cross(a, b)
    area = (normal * normal).sum(-1)
    flat = area.detach() <= FLAT**2 * longest**2
    safe = torch.where(flat, torch.ones_like(area), area)
    d = points - corners[:, 0]
    second = (_cross(d, b) * normal).sum(-1) / safe
    third = (_cross(a, d) * normal).sum(-1) / safe
    found = torch.stack([1 - second - third, second, third], 1)
    if clamp:
        found = found.clamp_min(0)
        found = found / found.sum(1, keepdim=True)
    if not bool(flat.any()):
        return found

    row = torch.arange(len(points), device=points.device)
    edge, length = edges[row, index], squares[row, index]
    nowhere = longest == 0
    length = torch.where(nowhere, torch.ones_like(length), length)
    along = (((points - corners[row, index]) * edge).sum(-1) / length).clamp(0, 1)[:, None]
    corner = torch.nn.functional.one_hot(index, 3).to(points)
    onto = corner * (1 - along) + corner.roll(1, 1) * along
    onto = torch.where(nowhere[:, None], torch.full_like(onto, 1 / 3), onto)
    return torch.where(flat[:, None], onto, found)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    """The cross product without fused multiply-add, with which a x a is not zero and a corner not exactly itself."""
    return a.roll(-1, -1) * b.roll(-2, -1) - a.roll(-2, -1) * b.roll(-1, -1)


def bind(
    rig: Rig,
    points: Tensor,
    faces: Tensor,
    shape: Tensor | None = None,
    offsets: Tensor | None = None,
    clamp: bool = False,
) -> Binding:
    """Bind ``points`` (N, 3), metres, to the rig's triangles ``faces`` (N,), in the subject's rest pose.

    That is zero pose and expression, with the subject's ``shape`` (1, S') or (S',) and ``offsets`` (V, 3). Each
    attribute of a point is the mean of its face's three corners under :func:`barycentric`. Raises DataError for a face
    that the rig does not have, or for points and faces of unequal number.
    """
    if points.ndim != 2 or points.shape[1] != 3 or faces.shape != points.shape[:1]:
        raise DataError(f"points {tuple(points.shape)} and faces {tuple(faces.shape)}: (N, 3) and (N,) are expected.")
    if len(faces) and not 0 <= int(faces.min()) <= int(faces.max()) < len(rig.faces):
        raise DataError(
            f"a point is bound to face {int(faces.max() if faces.min() >= 0 else faces.min())}; "
            f"the rig '{rig.name}' has {len(rig.faces)} faces. Was it bound to another rig, or to one with teeth?"
        )
    nothing = points.new_zeros(1, 0)
    rest, joints = rig.rest(nothing if shape is None else shape.reshape(1, -1), nothing, offsets)
    corners = rig.faces[faces]  # (N, 3)
    weights = barycentric(points, rest[0][corners], clamp)

    def carried(attribute: Tensor) -> Tensor:  # (V, ...) -> (N, ...); corner by corner, to not hold three copies
        columns = [w.reshape(-1, *[1] * (attribute.ndim - 1)) for w in weights.unbind(1)]
        found = attribute[corners[:, 0]] * columns[0]
        for i in (1, 2):
            found = torch.addcmul(found, attribute[corners[:, i]], columns[i])
        return found

    directions = [carried(rig.expression_directions), carried(rig.pose_directions)]
    first = rig.shape_directions.shape[-1]
    return Binding(
        points=points,
        faces=faces,
        barycentric=weights,
        directions=torch.cat(directions, -1).permute(2, 1, 0).contiguous(),
        weights=carried(rig.skinning).T.contiguous(),
        joints=joints[0],
        joint_directions=rig.joint_directions[..., first:].permute(2, 0, 1).flatten(1).contiguous(),
        parents=rig.parents,
    )


def animate(
    binding: Binding,
    expression: Tensor,
    rotations: Tensor,
    translation: Tensor | None = None,
    points: Tensor | None = None,
    quaternions: Tensor | None = None,
    turn: bool = True,
) -> Animated:
    """Move bound points as the rig's own vertices move, B frames at once; differentiable in everything that is given.

    ``expression`` (B, E'): the first coefficients; ``rotations`` (B, J, 3, 3), as :meth:`Rig.rotations` gives them;
    ``translation`` (B, 3) or (3,) metres; any of the three may have a batch of one. ``points`` (N, 3): canonical
    positions other than the bound ones (a decoder's offsets); ``quaternions`` (N, 4), w first: turned by the blended
    rotation, keeping their norm, or only repeated if ``turn`` is off. Raises DataError for more coefficients than the
    rig has, for another number of joints, and for batches that differ.
    """
    place = expression.new_zeros(1, 3) if translation is None else translation.reshape(-1, 3)
    frames, count = skinning.batch_of(rotations, expression, place), len(binding.faces)
    known, joints = len(binding.joint_directions), len(binding.joints)
    sizes = {len(rotations), len(expression), len(place)}
    if sizes - {1, frames} or expression.shape[1] > known or rotations.shape[1:] != (joints, 3, 3):
        raise DataError(
            f"expression {tuple(expression.shape)}, rotations {tuple(rotations.shape)} and translation "
            f"{tuple(place.shape)}: (B, at most {known}), (B, {joints}, 3, 3) and (B, 3) are expected."
        )
    expression, rotations = expression.expand(frames, -1), rotations.expand(frames, -1, -1, -1)
    features = torch.nn.functional.pad(expression, (0, known - expression.shape[1]))
    posed = (binding.joints + (features @ binding.joint_directions).unflatten(1, (joints, 3))).expand(frames, -1, -1)
    transforms = skinning.moved_by(skinning.chain(binding.parents, posed, rotations), translation)
    if len(binding.directions) > known:
        identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
        features = torch.cat([features, (rotations[:, 1:] - identity).flatten(1)], 1)

    base = (binding.points if points is None else points).T.reshape(-1)
    directions = binding.directions.flatten(1)
    step = skinning.cached_frames(count, base.device)
    batch = max(_FRAMES, step)

    def moved() -> Iterator[Tensor]:
        for start in range(0, frames, batch):
            canonical = torch.addmm(base, features[start : start + batch], directions).unflatten(1, (3, count))
            matrices = transforms[start : start + batch]
            for part, own in zip(canonical.split(step), matrices.split(step), strict=True):
                yield skinning.skin(part, binding.weights, own)

    found = _points_first(moved(), base.new_empty(frames, count, 3))
    if quaternions is None or not turn:
        return Animated(found, None if quaternions is None else quaternions.expand(frames, count, 4))

    product = quaternion.right_matrix(quaternions.T)
    turned = (
        quaternion.turn(product, quaternion.blend(binding.weights, part))
        for part in quaternion.chain(binding.parents, rotations).split(step)
    )
    return Animated(found, _points_first(turned, found.new_empty(frames, count, 4)))


def _points_first(parts: Iterator[Tensor], out: Tensor) -> Tensor:
    """(B, N, C) from consecutive ``parts`` (b, C, N); in ``out`` itself where no gradient needs the parts."""
    if torch.is_grad_enabled():
        return torch.cat([out[:0], *(torch.stack(part.unbind(1), -1) for part in parts)])
    start = 0
    for part in parts:
        torch.stack(part.unbind(1), -1, out=out[start : start + len(part)])
        start += len(part)
    return out
