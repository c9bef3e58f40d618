"""Scalp hair: roots, lengths, curls and clumps around the way a style is combed, and tones."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from avatarbench.openheads.hair_comb import COMBS, Comb, combed
from avatarbench.openheads.hair_head import Head
from avatarbench.openheads.hair_regions import Floats, above_hairline, smoothstep
from avatarbench.openheads.hair_style import HairStyle, reflectance
from avatarbench.openheads.hair_tied import tied


class Hair(NamedTuple):
    """Strands of one tone in a :class:`Head`'s frame: ``points`` (N, P, 3) control points starting on the skin,
    ``radii`` (N, P) and ``colour`` (3,) as in ``Strands``."""

    points: Floats
    radii: Floats
    colour: Floats
    kind: str
    faces: NDArray[np.int64]
    barycentric: Floats


def scalp_hair(style: HairStyle, head: Head, seed: int) -> list[Hair]:
    """The hair of the head, in up to four tones; none for a bald one."""
    if style.style == "bald":
        return []
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1])))
    comb = COMBS.get(style.style, Comb(radius=0.0005))
    faces, barycentric = _roots(style, head, rng, int(comb.count * style.density))
    root = head.at(faces, barycentric)
    if style.style in ("ponytail", "bun"):
        lengths = style.length * (0.35 + 0.45 * rng.random(len(root)) ** 0.6)
        points = tied(head, root, lengths, style.volume, style.style == "bun", rng)
    else:
        short = comb.taper + (1 - comb.taper) * smoothstep((root[:, 2] - 0.02) / 0.09)
        lengths = style.length * short * rng.uniform(0.8, 1.08, len(root))
        points = combed(comb, head, root, head.normals(faces), lengths, style.parting, rng)
        points = _clumped(points, root, 0.75 * style.clumping, rng)
        points = _curled(points, root, style.curl, rng)
        points = _kept_out(head, points)
    return toned(style, rng, points, comb.radius, "scalp", (faces, barycentric), style.melanin)


def _roots(style: HairStyle, head: Head, rng: np.random.Generator, count: int) -> tuple[NDArray[np.int64], Floats]:
    """Triangles (N,) and barycentric (N, 3) of at most ``count`` roots, even over the scalp's area."""
    here = head.regions
    centre = here.vertices[here.faces].mean(1)
    candidates = np.where((above_hairline(centre) > -0.02) & ~here.face_mask("ears") & outer(head))[0]
    faces, barycentric = scattered(head, candidates, count, rng)
    at = (here.vertices[here.faces[faces]] * barycentric[:, :, None]).sum(1)
    phase = rng.uniform(0, 2 * np.pi, 4)
    angle = np.arctan2(at[:, 0], -at[:, 1])
    waves = sum(np.sin(k * angle + f) / k**0.5 for k, f in zip((5, 9, 17, 29), phase, strict=True))
    peak = rng.uniform(-0.004, 0.006) * np.exp(-((angle / 0.12) ** 2))
    height = above_hairline(at, style.recession) + 0.0022 * waves + peak
    chance = smoothstep(height / 0.012 + 0.35)
    crown = np.linalg.norm(at - [0, 0.045, 0.145], axis=1)
    chance *= 1 - np.clip(1.6 * style.recession - 0.5, 0, 1) * np.exp(-((crown / 0.05) ** 2))
    keep = rng.random(count) < chance
    return faces[keep], barycentric[keep]


def outer(head: Head) -> NDArray[np.bool_]:
    """(F,): triangles of the outer skin, none of mouth, eye sockets or eyeballs."""
    here = head.regions
    centre = here.vertices[here.faces].mean(1)
    return (np.hypot(centre[:, 0], centre[:, 1]) > 0.045) | (centre[:, 2] > 0.08)


def scattered(
    head: Head, candidates: NDArray[np.int64], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], Floats]:
    """Triangles (count,) among ``candidates`` and barycentric (count, 3), even over their area."""
    a, b, c = np.moveaxis(head.vertices[head.regions.faces[candidates]], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    faces = rng.choice(candidates, count, p=area / area.sum())
    u = np.sort(rng.random((count, 2)), axis=1)
    return faces, np.stack([u[:, 0], u[:, 1] - u[:, 0], 1 - u[:, 1]], 1)


def _clumped(points: Floats, root: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Strands (N, P, 3) drawn towards the tips of leaders among them, one in thirty."""
    leaders = rng.choice(len(points), max(1, len(points) // 30), replace=False)
    nearest = leaders[cKDTree(root[leaders]).query(root)[1]]
    apart = points[nearest] - points
    close = np.exp(-((np.linalg.norm(apart, axis=2, keepdims=True) / 0.03) ** 2))
    along = np.linspace(0, 1, points.shape[1])[None, :, None] ** 1.3
    return points + strength * along * close * apart


def _curled(points: Floats, root: Floats, curl: float, rng: np.random.Generator) -> Floats:
    """Strands (N, P, 3) wound into waves; neighbours in step. The tighter the curl, the shorter a turn."""
    controls = points.shape[1]
    length = np.linalg.norm(np.diff(points, axis=1), axis=2).sum(1)
    turns = np.minimum(length / (0.075 - 0.055 * curl), (controls - 2) / 3.6)
    leaders = rng.choice(len(points), max(1, len(points) // 45), replace=False)
    group = cKDTree(root[leaders]).query(root)[1]
    phase = rng.uniform(0, 2 * np.pi, len(leaders))[group] + rng.normal(0, 0.5, len(points))
    along = np.linspace(0, 1, controls)
    angle = 2 * np.pi * turns[:, None] * along + phase[:, None]
    tangent = np.gradient(points, axis=1)
    tangent /= np.linalg.norm(tangent, axis=2, keepdims=True) + 1e-12
    first = np.cross(tangent, [0.0, 0.45, 0.9])
    first /= np.linalg.norm(first, axis=2, keepdims=True) + 1e-9
    second = np.cross(tangent, first)
    size = curl * np.minimum(0.0085, 0.11 * length)[:, None] * smoothstep(along * 2.5)
    wave = np.cos(angle)[..., None] * first + np.sin(angle)[..., None] * second
    return points + size[..., None] * wave


def _kept_out(head: Head, points: Floats) -> Floats:
    """Strands (N, P, 3) whose points past the root are at least half a millimetre outside of the skull."""
    gap, outward = head.skull.distance(points[:, 2:])
    return np.concatenate([points[:, :2], points[:, 2:] + outward * np.maximum(0.0005 - gap, 0)[..., None]], 1)


def toned(
    style: HairStyle,
    rng: np.random.Generator,
    points: Floats,
    radius: float,
    kind: str,
    roots: tuple[NDArray[np.int64], Floats],
    melanin: float,
) -> list[Hair]:
    """The strands in three tones around ``melanin``, and those that have turned grey."""
    along = np.linspace(0, 1, points.shape[1])
    radii = radius * (1 - 0.75 * along**2) * np.ones((len(points), 1))
    tone = rng.integers(0, 3, len(points))
    tone[rng.random(len(points)) < style.grey] = 3
    colours = [reflectance(float(np.clip(melanin + d, 0, 1)), style.redness) for d in (-0.06, 0.0, 0.05)]
    colours.append(np.array([0.5, 0.49, 0.47]))
    return [
        Hair(points[tone == k], radii[tone == k], colour, kind, roots[0][tone == k], roots[1][tone == k])
        for k, colour in enumerate(colours)
        if (tone == k).any()
    ]
