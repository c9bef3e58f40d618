"""Brows, lashes and beard: short strands that ride on the skin.

Lengths are metres on the reference head, whose right and left are mirror images; x is the subject's left.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from avatarbench.openheads.hair_head import Head
from avatarbench.openheads.hair_regions import Floats, below_cheekline, smoothstep
from avatarbench.openheads.hair_scalp import Hair, outer, scattered, toned
from avatarbench.openheads.hair_style import HairStyle

_BROW = np.array(
    [[0.0115, 0.0565], [0.020, 0.0600], [0.032, 0.0640], [0.040, 0.0650], [0.047, 0.0625], [0.054, 0.0575]]
)
"""The middle of an average brow, x and z, from the nose outward."""

_BEARDS = {"stubble": 9000, "moustache": 14000, "goatee": 11000, "full": 9000}


def face_hair(style: HairStyle, head: Head, seed: int) -> list[Hair]:
    """Brows, lashes and beard of a style, in up to four tones each."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 2])))
    young = replace(style, grey=round(0.4 * style.grey, 6))  # brows turn grey late, lashes hardly
    hair = [*_brows(young, head, rng), *_lashes(replace(style, grey=0.0), head, rng)]
    return hair if style.beard == "none" else [*hair, *_beard(style, head, rng)]


def _brows(style: HairStyle, head: Head, rng: np.random.Generator) -> list[Hair]:
    count = 420
    side = np.where(np.arange(count) % 2 == 0, 1.0, -1.0)
    along = rng.random(count) ** 0.9
    across = rng.normal(0, 0.42, count).clip(-1, 1)
    knots = np.linspace(0, 1, len(_BROW))
    line = _BROW + np.array([0, 0.012 * (style.brow_height - 1)])
    line = line + np.stack(
        [np.zeros(len(knots)), 0.006 * (style.brow_arch - 0.4) * np.exp(-(((knots - 0.65) / 0.3) ** 2))], 1
    )
    x, z = np.interp(along, knots, line[:, 0]), np.interp(along, knots, line[:, 1])
    half = (
        0.0042
        * style.brow_thickness
        * (0.35 + 0.65 * smoothstep(along / 0.15))
        * (1 - 0.75 * smoothstep((along - 0.45) / 0.55))
    )
    faces, barycentric, found = _front(head, side * (x + rng.normal(0, 0.0004, count)), z + across * half)
    along, across, side, faces, barycentric = along[found], across[found], side[found], faces[found], barycentric[found]
    up = 1.25 * (1 - smoothstep(along / 0.35)) - 0.25 - 0.35 * across  # upright by the nose, downward at the tail
    direction = np.stack([side * (0.5 + 0.6 * smoothstep(along / 0.3)), np.zeros(len(along)), up], 1)
    direction += rng.normal(0, 0.12, direction.shape)
    length = 0.0075 * rng.uniform(0.7, 1.15, len(along)) * (1 - 0.25 * along) * (0.8 + 0.2 * style.brow_thickness)
    points = _lying(head, faces, barycentric, direction, length, 0.16, np.zeros(3), 5)
    return toned(style, rng, points, 0.00022, "brow", (faces, barycentric), style.brow_melanin)


def _front(head: Head, x: Floats, z: Floats) -> tuple[NDArray[np.int64], Floats, NDArray[np.bool_]]:
    """Triangles (N,) of the reference head's front at x and z (N,), barycentric (N, 3), and (N,) whether it has any."""
    here = head.regions
    corners = here.vertices[here.faces]
    box = (corners[:, :, 1] < -0.06).all(1) & (corners[:, :, 2] > 0.045).all(1) & (corners[:, :, 2] < 0.09).all(1)
    chosen = np.where(box & outer(head))[0]
    a, b, c = np.moveaxis(corners[chosen][:, :, [0, 2]], 1, 0)
    p = np.stack([x, z], 1)[:, None]

    def area(u: Floats, v: Floats, w: Floats) -> Floats:
        return (v[..., 0] - u[..., 0]) * (w[..., 1] - u[..., 1]) - (v[..., 1] - u[..., 1]) * (w[..., 0] - u[..., 0])

    whole = area(a, b, c)
    whole = np.where(np.abs(whole) < 1e-12, np.inf, whole)
    weights = np.stack([area(p, b, c), area(a, p, c), area(a, b, p)], 2) / whole[None, :, None]
    inside = weights.min(2)
    best = inside.argmax(1)
    rows = np.arange(len(x))
    return chosen[best], weights[rows, best], inside[rows, best] >= 0


def _lashes(style: HairStyle, head: Head, rng: np.random.Generator) -> list[Hair]:
    """Upper and lower rows, on the front edge of the lid margins."""
    here = head.regions
    centre = here.vertices[here.faces].mean(1)
    lid = here.masks["eyelids"][here.faces].all(1)
    a, b, c = np.moveaxis(here.vertices[here.faces], 1, 0)
    normal = np.cross(b - a, c - a)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    edge = lid & (normal[:, 1] < -0.35)  # the front edge of the margin, between skin and wet rim
    middle = centre[lid, 2].mean()
    groups = []
    for upper, count, length in ((True, 170, 0.0085), (False, 90, 0.0045)):
        sign = 1.0 if upper else -1.0
        facing = sign * normal[:, 2]
        rim = np.where(edge & (sign * (centre[:, 2] - middle) > 0.001) & (facing < -0.35) & (facing > -0.88))[0]
        faces, barycentric = scattered(head, rim, count, rng)
        root = head.at(faces, barycentric)
        eye = np.sign(root[:, 0]) * 0.031
        outward = (root[:, 0] - eye) / 0.016
        direction = np.stack([0.55 * outward, -np.ones(count), np.full(count, -0.15 * sign)], 1)
        direction += rng.normal(0, 0.12, direction.shape)
        size = length * style.lashes * rng.uniform(0.75, 1.1, count) * (1 + 0.2 * outward * np.sign(root[:, 0]))
        bend = np.array([0, 0.1, 1.25 * sign])
        points = _arched(root, direction, size, bend, 5)
        groups += toned(style, rng, points, 0.00016, "lash", (faces, barycentric), min(style.brow_melanin + 0.15, 1))
    return groups


def _beard(style: HairStyle, head: Head, rng: np.random.Generator) -> list[Hair]:
    here = head.regions
    centre = here.vertices[here.faces].mean(1)
    area = (below_cheekline(centre) > -0.008) & outer(head) & ~here.face_mask("lips") & ~here.face_mask("inside-mouth")
    faces, barycentric = scattered(head, np.where(area)[0], _BEARDS[style.beard], rng)
    at = (here.vertices[here.faces[faces]] * barycentric[:, :, None]).sum(1)
    chance = smoothstep((below_cheekline(at) + rng.normal(0, 0.0015, len(at))) / 0.010 + 0.2) * _area(style.beard, at)
    keep = rng.random(len(at)) < chance
    faces, barycentric, at = faces[keep], barycentric[keep], at[keep]
    side = np.sign(at[:, 0])
    lip = smoothstep((at[:, 2] + 0.036) / 0.012) * (np.abs(at[:, 0]) < 0.032)  # the moustache lies along the lip
    direction = np.stack([side * (0.15 + 0.9 * lip), -0.25 * (1 - lip), -1.0 + 0.35 * lip], 1)
    direction += rng.normal(0, 0.2, direction.shape)
    chin = smoothstep((-0.03 - at[:, 2]) / 0.04)
    length = style.beard_length * rng.uniform(0.65, 1.1, len(at)) * (0.4 + 0.6 * chin)
    length = np.where(lip > 0.3, np.minimum(style.beard_length * rng.uniform(0.8, 1.1, len(at)), 0.011), length)
    if style.beard == "stubble":
        points = _lying(head, faces, barycentric, direction, length, 0.5, np.zeros(3), 4)
        return toned(style, rng, points, 0.00018, "beard", (faces, barycentric), style.beard_melanin)
    points = _lying(head, faces, barycentric, direction, length, 0.38, np.array([0, 0, -0.6]), 7)
    return toned(style, rng, points, 0.0003, "beard", (faces, barycentric), style.beard_melanin)


def _area(beard: str, at: Floats) -> Floats:
    """(N,) share of the roots at reference positions (N, 3) that a kind of beard keeps."""
    x, z = np.abs(at[:, 0]), at[:, 2]
    moustache = smoothstep((z + 0.037) / 0.006) * smoothstep((0.033 - x) / 0.005)
    chin = smoothstep((0.026 - x) / 0.006) * smoothstep((-0.038 - z) / 0.008)
    corner = smoothstep((0.036 - x) / 0.005) * smoothstep((x - 0.022) / 0.004) * (z < -0.03)
    kinds = {"moustache": moustache, "goatee": np.maximum(np.maximum(moustache, chin), 0.85 * corner)}
    return kinds.get(beard, np.ones(len(at)))


def _lying(
    head: Head, faces: NDArray[np.int64], barycentric: Floats, direction: Floats, length: Floats, lift: float,
    bend: Floats, controls: int,
) -> Floats:  # fmt: skip
    """(N, controls, 3) strands along ``direction`` laid on their triangle's plane and raised by ``lift``."""
    normal = head.normals(faces)
    flat = direction - normal * (direction * normal).sum(1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return _arched(head.at(faces, barycentric), flat + lift * normal, length, bend, controls)


def _arched(root: Floats, direction: Floats, length: Floats, bend: Floats, controls: int) -> Floats:
    """(N, controls, 3) parabolas from ``root`` along ``direction``, bent towards ``bend`` as they run."""
    t = np.concatenate([[0, 0.12], np.linspace(0.12, 1, controls - 1)[1:]])[None, :, None]
    start = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return root[:, None] + length[:, None, None] * (start[:, None] * t + 0.5 * bend * t**2)
