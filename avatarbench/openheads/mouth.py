"""Two rows of teeth with gums, which Anny's head lacks: the upper one rides on the skull, the lower on the jaw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatarbench.openheads.identity_parts import Mouth

Array = NDArray[np.float64]

_WIDTHS = {  # millimetres from the middle outwards
    "upper": (8.4, 6.6, 7.6, 7.0, 6.8, 9.6, 9.0),
    "lower": (5.4, 5.8, 6.6, 7.0, 7.0, 10.2, 9.6),
}
_HEIGHTS = {"upper": (10.0, 9.0, 10.0, 8.6, 7.8, 7.2, 6.6), "lower": (8.8, 9.0, 10.0, 8.6, 8.0, 7.4, 7.0)}
_FRONT = {"upper": -0.1035, "lower": -0.1010}  # y of the middle teeth's face on the canonical head
_BITE = {"upper": -0.0338, "lower": -0.0322}  # z of their edges: the upper ones close a little before the lower
_AROUND, _ALONG = 14, 11  # vertices of a tooth


@dataclass(frozen=True)
class Row:
    """One row on the canonical head: ``points`` (N, 3) metres, ``faces`` (F, 3), ``colour`` (N, 3),
    ``roughness`` (N,)."""

    points: Array
    faces: NDArray[np.int64]
    colour: NDArray[np.float32]
    roughness: NDArray[np.float32]


def tooth_rows(mouth: Mouth, seed: int) -> dict[str, Row]:
    """The rows "upper" and "lower" of one person."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 77])))
    return {jaw: _row(jaw, mouth, rng) for jaw in ("upper", "lower")}


def _row(jaw: str, mouth: Mouth, rng: np.random.Generator) -> Row:
    down = -1.0 if jaw == "upper" else 1.0  # from the gum to the edge
    enamel = np.array([0.76, 0.72, 0.64]) * (1 - mouth.shade * np.array([0.10, 0.16, 0.34]))
    parts: list[tuple[Array, NDArray[np.int64], Array, Array]] = []
    for side in (-1.0, 1.0):
        arc = 0.5e-3 * mouth.gap * (jaw == "upper")
        for k, (width, height) in enumerate(zip(_WIDTHS[jaw], _HEIGHTS[jaw], strict=True)):
            width, height = 0.93e-3 * width, 0.95e-3 * height
            place, tangent, outward = _arch(arc + width / 2, _FRONT[jaw])
            arc += width + 0.05e-3
            wobble = 0.0003 * mouth.irregular * rng.standard_normal(3)
            turn = 0.10 * mouth.irregular * rng.standard_normal()
            points, faces = _tooth(width * 0.985, height, depth=0.0035 + 0.0006 * k, molar=k >= 3)
            tangent, outward = (
                tangent * np.cos(turn) + outward * np.sin(turn),
                outward * np.cos(turn) - tangent * np.sin(turn),
            )
            up = np.array([0.0, 0.0, down])
            lift = np.array([0.0, 0.0, _BITE[jaw] - down * height - 0.0006 * down * (k == 1)])
            world = points[:, :1] * tangent + points[:, 1:2] * outward + points[:, 2:] * up
            world = world + place + lift + wobble * [0.3, 1, 0.6]
            world[:, 0] *= side
            shade = (0.92 + 0.08 * rng.random()) * np.where(k >= 2, 0.95, 1.0)
            root = np.clip(1 - points[:, 2] / height * 1.6, 0, 1)[:, None]
            colour = enamel * shade * (1 - root * np.array([0.05, 0.14, 0.28]))
            parts.append((world, faces if side > 0 else faces[:, ::-1], colour, np.full(len(points), 0.22)))
    parts.append(_gum(jaw, down))
    offsets = np.cumsum([0] + [len(p[0]) for p in parts])
    return Row(
        np.concatenate([p[0] for p in parts]),
        np.concatenate([p[1] + o for p, o in zip(parts, offsets, strict=False)]),
        np.concatenate([p[2] for p in parts]).astype(np.float32),
        np.concatenate([p[3] for p in parts]).astype(np.float32),
    )


def _arch(arc: float, front: float) -> tuple[Array, Array, Array]:
    """Place, unit tangent and outward normal (x > 0 side) at an arc length along a dental arch: an ellipse."""
    across, deep = 0.0255, 0.043
    t = np.linspace(0, np.pi / 2, 400)
    curve = np.stack([across * np.sin(t), front + deep * (1 - np.cos(t)), 0 * t], 1)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    place = np.array([np.interp(arc, length, curve[:, k]) for k in range(3)])
    at = np.interp(arc, length, t)
    tangent = np.array([across * np.cos(at), deep * np.sin(at), 0.0])
    tangent /= np.linalg.norm(tangent)
    return place, tangent, np.array([tangent[1], -tangent[0], 0.0])


def _tooth(width: float, height: float, depth: float, molar: bool) -> tuple[Array, NDArray[np.int64]]:
    """A rounded box from the gum (z = 0) to the edge (z = height): x across, y outwards with the face at y = 0."""
    t = np.linspace(0, 1, _ALONG)
    around = np.linspace(0, 2 * np.pi, _AROUND, endpoint=False)
    cosine, sine = np.cos(around), np.sin(around)
    square = lambda v: np.sign(v) * np.abs(v) ** 0.55  # noqa: E731 a superellipse
    across = (0.80 + 0.20 * np.sqrt(t)) * np.where(t > 0.93, 0.90, 1.0)
    thick = np.ones_like(t) if molar else 1.0 - 0.72 * t
    cap = np.sqrt(np.clip(1 - ((t - 0.86) / 0.14).clip(0, None) ** 2, 0, 1)) * 0.85 + 0.15
    x = 0.5 * width * square(cosine)[None] * (across * (0.7 + 0.3 * cap))[:, None]
    y = 0.5 * depth * (square(sine)[None] * cap[:, None] - 1) * thick[:, None]
    y -= (0.0006 * (2 * t - 1) ** 2)[:, None]  # the face is convex
    z = np.broadcast_to((height * t)[:, None], x.shape)
    points = np.concatenate([np.stack([x, y, z], -1).reshape(-1, 3), [[0, y[-1].mean(), height * 1.01]]])
    ring, sector = np.arange(_ALONG - 1)[:, None] * _AROUND, np.arange(_AROUND)[None]
    following = (sector + 1) % _AROUND
    a, b = ring + sector, ring + following
    sides = np.concatenate(
        [np.stack([a, b, b + _AROUND], -1).reshape(-1, 3), np.stack([a, b + _AROUND, a + _AROUND], -1).reshape(-1, 3)]
    )
    last = (_ALONG - 1) * _AROUND
    top = np.stack([last + sector[0], last + following[0], np.full(_AROUND, len(points) - 1)], -1)
    return points, np.concatenate([sides, top])


def _gum(jaw: str, down: float) -> tuple[Array, NDArray[np.int64], Array, Array]:
    """A tube along the arch over the teeth's necks."""
    steps, around = 60, 12
    arcs = np.linspace(-0.052, 0.052, steps)
    circle = np.linspace(0, 2 * np.pi, around, endpoint=False)
    base = _BITE[jaw] - down * 0.0100
    points = np.empty((steps, around, 3))
    for i, arc in enumerate(arcs):
        place, _, outward = _arch(abs(arc), _FRONT[jaw] + 0.0012)
        scallop = 0.0006 * np.cos(2 * np.pi * abs(arc) / 0.0072)
        r = np.stack([0.0032 * np.cos(circle) - 0.002, 0.0040 * np.sin(circle) + scallop], -1)
        points[i] = place + r[:, :1] * outward + [0, 0, base] + r[:, 1:] * [0, 0, 1]
        points[i, :, 0] *= np.sign(arc)
    ring, sector = np.arange(steps - 1)[:, None] * around, np.arange(around)[None]
    following = (sector + 1) % around
    a, b = ring + sector, ring + following
    faces = np.concatenate(
        [np.stack([a, b, b + around], -1).reshape(-1, 3), np.stack([a, b + around, a + around], -1).reshape(-1, 3)]
    )
    colour = np.tile([0.46, 0.15, 0.14], (steps * around, 1))
    return points.reshape(-1, 3), faces, colour, np.full(steps * around, 0.3)
