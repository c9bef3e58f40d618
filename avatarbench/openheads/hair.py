"""Hair as strands: grown on the shaped neutral head, and carried along by a posed one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from avatarbench.heads.anny import JOINTS, AnnyRig
from avatarbench.openheads.hair_face import face_hair
from avatarbench.openheads.hair_head import Head
from avatarbench.openheads.hair_regions import regions
from avatarbench.openheads.hair_scalp import Hair, scalp_hair
from avatarbench.openheads.hair_style import HairStyle

Points = NDArray[np.float32]


@dataclass(frozen=True)
class Strands:
    """N hairs of one colour: uniform cubic B-splines, as Mitsuba's ``bsplinecurve`` reads them.

    ``points`` (N, P, 3) metres, control points; the first lies below the skin so that the curve starts at ``roots``.
    ``radii`` (N, P) metres; ``colour`` (3,) linear RGB reflectance; ``kind`` "scalp", "brow", "lash" or "beard";
    ``faces`` (N,) the triangle each grows from, at ``barycentric`` (N, 3); ``corners`` (N, 3) its vertices.
    """

    points: Points
    radii: Points
    colour: Points
    kind: str
    faces: NDArray[np.int64]
    barycentric: Points
    corners: NDArray[np.int64]

    @property
    def roots(self) -> Points:
        """(N, 3): where the curves start."""
        return (self.points[:, 0] + 4 * self.points[:, 1] + self.points[:, 2]) / np.float32(6)


def grow(style: HairStyle, rig: AnnyRig, rest: Points, seed: int) -> list[Strands]:
    """The hair of ``style`` on the shaped neutral head ``rest`` (V, 3): several groups a kind, of different tones.

    The same arguments give the same strands. Raises ValueError where ``rest`` is not the rig's.
    """
    here = regions(rig)
    if rest.shape != here.vertices.shape:
        raise ValueError(f"hair grows on {here.vertices.shape} vertices, and {rest.shape} were given")
    head = Head.fit(here, rest.astype(np.float64))
    grown = [*scalp_hair(style, head, seed), *face_hair(style, head, seed)]
    return [_buried_last(_strands(hair, head), rest) for hair in grown]


def _strands(hair: Hair, head: Head) -> Strands:
    """The group in rest space, with the phantom control point that lets its curves start at their roots."""
    points = head.to_rest(hair.points)
    return Strands(
        np.concatenate([2 * points[:, :1] - points[:, 1:2], points], 1).astype(np.float32),
        np.concatenate([hair.radii[:, :1], hair.radii], 1).astype(np.float32),
        hair.colour.astype(np.float32),
        hair.kind,
        hair.faces,
        hair.barycentric.astype(np.float32),
        head.regions.faces[hair.faces],
    )


def _buried_last(group: Strands, rest: Points) -> Strands:
    """The group and one strand more, which runs three millimetres into the skin.

    Mitsuba 3.9 reads beyond its buffers, and crashes, where a ray meets the very end of a shape's last curve (its
    segment index is not clamped in ``partials``): the last curve must be one that no ray can meet.
    """
    root = (rest[group.corners[-1]] * group.barycentric[-1][:, None]).sum(0)
    inward = -_frames(rest[group.corners[-1:]].astype(np.float64))[0, :, 2]
    depth = 0.003 * np.arange(-1, group.points.shape[1] - 1) / (group.points.shape[1] - 2)
    buried = (root + depth[:, None] * inward).astype(np.float32)
    return replace(
        group,
        points=np.concatenate([group.points, buried[None]]),
        radii=np.concatenate([group.radii, group.radii[-1:]]),
        faces=np.concatenate([group.faces, group.faces[-1:]]),
        barycentric=np.concatenate([group.barycentric, group.barycentric[-1:]]),
        corners=np.concatenate([group.corners, group.corners[-1:]]),
    )


def follow(strands: list[Strands], posed: Points, rest: Points, transforms: NDArray[np.float32]) -> list[Strands]:
    """The strands of a posed head: ``posed`` and ``rest`` (V, 3), ``transforms`` (8, 4, 4) of the rig's joints from
    rest to posed space.

    Scalp hair turns with the skull; what hangs below the jaw turns with the neck instead. Brows, lashes and beards
    move with the triangle that they grow from.
    """
    return [_hang(group, transforms) if group.kind == "scalp" else _ride(group, posed, rest) for group in strands]


def _hang(group: Strands, transforms: NDArray[np.float32]) -> Strands:
    head, neck = (transforms[JOINTS.index(name)].astype(np.float64) for name in ("head", "neck01"))
    points = group.points.astype(np.float64)
    below = np.minimum(-0.02, points[:, 1:2, 2]) - points[..., 2]
    depth = np.clip(below / 0.14, 0, 1)
    weight = (0.85 * depth * depth * (3 - 2 * depth))[..., None]
    rigid = points @ head[:3, :3].T + head[:3, 3]
    hanging = points @ neck[:3, :3].T + neck[:3, 3]
    return replace(group, points=(rigid + weight * (hanging - rigid)).astype(np.float32))


def _ride(group: Strands, posed: Points, rest: Points) -> Strands:
    before, after = rest[group.corners].astype(np.float64), posed[group.corners].astype(np.float64)
    turn = _frames(after) @ _frames(before).transpose(0, 2, 1)
    weights = group.barycentric.astype(np.float64)[:, :, None]
    origin, target = (before * weights).sum(1)[:, None], (after * weights).sum(1)[:, None]
    points = np.einsum("nij,npj->npi", turn, group.points - origin) + target
    return replace(group, points=points.astype(np.float32))


def _frames(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3, 3) rotations whose columns are a triangle's first edge, its normal's complement and its normal."""
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    first = edge / np.linalg.norm(edge, axis=1, keepdims=True)
    normal = np.cross(first, other)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return np.stack([first, np.cross(normal, first), normal], -1)
