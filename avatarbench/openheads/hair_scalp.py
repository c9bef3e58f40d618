"""Scalp hair: roots, the way each style combs them, and tones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatarbench.openheads.hair_head import Head
from avatarbench.openheads.hair_regions import Floats, above_hairline, smoothstep
from avatarbench.openheads.hair_style import HairStyle, reflectance


class Hair(NamedTuple):
    """Strands of one tone in a :class:`Head`'s frame: ``points`` (N, P, 3) control points starting on the skin,
    ``radii`` (N, P); the rest as in ``Strands``."""

    points: Floats
    radii: Floats
    colour: Floats
    kind: str
    faces: NDArray[np.int64]
    barycentric: Floats


def scalp_hair(style: HairStyle, head: Head, seed: int) -> list[Hair]:
    if style.style == "bald":
        return []
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1])))
    faces, barycentric = scalp_roots(style, head, rng, 6000)
    root = head.at(faces, barycentric)
    out = head.skull.distance(root)[1]
    length = min(style.length, 0.05) * rng.uniform(0.7, 1.1, len(root))
    d = head.normals(faces) + [0, 0.1, -0.2]
    points = [root]
    for _ in range(7):
        d = d / np.linalg.norm(d, axis=1, keepdims=True) + [0, 0.1, -0.35]
        p = points[-1] + d / np.linalg.norm(d, axis=1, keepdims=True) * length[:, None] / 7
        gap, out = head.skull.distance(p)
        p += out * np.maximum(0.002 - gap, 0)[:, None]
        points.append(p)
    return toned(style, rng, np.stack(points, 1), 0.0004, "scalp", faces, barycentric, style.melanin, style.redness)


def scalp_roots(style: HairStyle, head: Head, rng: np.random.Generator, count: int) -> tuple[NDArray[np.int64], Floats]:
    """Triangles (N,) and barycentric (N, 3) of at most ``count`` roots, even over the scalp's area."""
    here = head.regions
    centre = here.vertices[here.faces].mean(1)
    candidates = np.where((above_hairline(centre) > -0.02) & ~here.face_mask("ears") & outer(head))[0]
    a, b, c = np.moveaxis(head.vertices[here.faces[candidates]], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    faces = rng.choice(candidates, count, p=area / area.sum())
    barycentric = spread(rng, count)
    at = (here.vertices[here.faces[faces]] * barycentric[:, :, None]).sum(1)
    chance = smoothstep(above_hairline(at, style.recession) / 0.012 + 0.3)
    keep = rng.random(count) < chance
    return faces[keep], barycentric[keep]


def outer(head: Head) -> NDArray[np.bool_]:
    """(F,): triangles of the outer skin, none of mouth, eye sockets or eyeballs."""
    here = head.regions
    centre = here.vertices[here.faces].mean(1)
    return (np.hypot(centre[:, 0], centre[:, 1]) > 0.045) | (centre[:, 2] > 0.08)


def spread(rng: np.random.Generator, count: int) -> Floats:
    """(count, 3) barycentric coordinates, uniform over a triangle."""
    u = np.sort(rng.random((count, 2)), axis=1)
    return np.stack([u[:, 0], u[:, 1] - u[:, 0], 1 - u[:, 1]], 1)


def toned(
    style: HairStyle,
    rng: np.random.Generator,
    points: Floats,
    radius: float,
    kind: str,
    faces: NDArray[np.int64],
    barycentric: Floats,
    melanin: float,
    redness: float,
) -> list[Hair]:
    """The strands in three tones around ``melanin``, and the grey ones."""
    along = np.linspace(0, 1, points.shape[1])
    radii = radius * (1 - 0.75 * along**2) * np.ones((len(points), 1))
    tone = rng.integers(0, 3, len(points))
    tone[rng.random(len(points)) < style.grey] = 3
    colours = [reflectance(float(np.clip(melanin + d, 0, 1)), redness) for d in (-0.06, 0.0, 0.05)]
    colours.append(np.array([0.5, 0.49, 0.47]))
    return [
        Hair(points[tone == k], radii[tone == k], colour, kind, faces[tone == k], barycentric[tone == k])
        for k, colour in enumerate(colours)
        if (tone == k).any()
    ]
