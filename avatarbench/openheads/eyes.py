"""Eyeballs: a sphere with a cornea, painted with iris, pupil, sclera and veins, that turns as the rig's eye does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatarbench.openheads.identity_parts import Eyes
from avatarbench.openheads.skin_noise import fractal, smoothstep, value_noise

_RINGS, _SECTORS = 48, 64


@dataclass(frozen=True)
class Eyeball:
    """A unit eyeball that looks along -y: ``points`` and ``normals`` (N, 3), ``faces`` (F, 3), ``colour`` (N, 3)."""

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    faces: NDArray[np.int64]
    colour: NDArray[np.float32]


def eyeball(eyes: Eyes, seed: int) -> Eyeball:
    """The eyeball of one person; rings crowd towards the iris, which is where one looks."""
    t = np.linspace(0, 1, _RINGS)
    angle = np.pi * (0.42 * t + 0.58 * t**3)  # from the pupil's centre to the back
    around = np.linspace(0, 2 * np.pi, _SECTORS, endpoint=False)
    a, b = np.meshgrid(angle, around, indexing="ij")
    unit = np.stack([np.sin(a) * np.cos(b), -np.cos(a), np.sin(a) * np.sin(b)], -1).reshape(-1, 3)
    edge = np.arcsin(eyes.size)
    off = a.ravel()
    bulge = 0.045 * smoothstep(1.25 * edge, 0.2 * edge, off)  # the cornea stands out
    ring = np.arange(_RINGS - 1)[:, None] * _SECTORS
    sector = np.arange(_SECTORS)[None]
    following = (sector + 1) % _SECTORS
    quads = np.stack(
        np.broadcast_arrays(ring + sector, ring + following, ring + _SECTORS + following, ring + _SECTORS + sector), -1
    ).reshape(-1, 4)
    faces = np.concatenate([quads[:, [0, 2, 1]], quads[:, [0, 3, 2]]])
    colour = _paint(eyes, unit, np.sin(off) * np.where(off < np.pi / 2, 1, 9) / eyes.size, b.ravel(), seed)
    return Eyeball(unit * (1 + bulge)[:, None], unit, faces, colour.astype(np.float32))


def _paint(
    eyes: Eyes, unit: NDArray[np.float64], radius: NDArray[np.float64], around: NDArray[np.float64], seed: int
) -> NDArray[np.float64]:
    """Colours at ``radius``, which is 1 at the iris's rim, and the angle ``around`` it."""
    spokes = np.stack([np.cos(around), np.sin(around), 0.12 * radius], 1)
    fibres = 0.6 * fractal(spokes * 0.02, 0.0032, seed, 3) + 0.4 * value_noise(spokes * 0.02, 0.0011, seed + 5)
    pupil = eyes.pupil / eyes.size
    inner = smoothstep(0.72, 0.30, radius + 0.14 * fibres)[:, None]
    iris = np.asarray(eyes.iris) * (1 - inner) + np.asarray(eyes.inner) * inner
    iris = iris * (1 + 0.55 * fibres)[:, None] * (0.8 + 0.45 * smoothstep(0.35, 0.8, radius))[:, None]
    ring = eyes.limbus * smoothstep(0.72, 0.98, radius)
    iris = iris * (1 - 0.85 * ring)[:, None]
    hole = smoothstep(pupil + 0.045, pupil - 0.045, radius)[:, None]
    iris = iris * (1 - hole) + 0.004 * hole

    white = np.array([0.72, 0.67, 0.63]) * (1 - eyes.yellow * np.array([0.02, 0.05, 0.16]))
    vein = smoothstep(0.80, 0.97, 1 - np.abs(value_noise(unit * 0.02, 0.0055, seed + 9)))
    vein *= eyes.veins * smoothstep(1.25, 2.0, radius) * (0.5 + 0.5 * value_noise(unit * 0.02, 0.01, seed + 11))
    redness = 0.10 + 0.25 * smoothstep(1.4, 2.1, radius)
    sclera = white * (1 - redness[:, None] * np.array([0.05, 0.32, 0.33]))
    sclera = sclera * (1 - np.clip(vein, 0, 1)[:, None] * np.array([0.12, 0.5, 0.5]))
    rim = smoothstep(0.93, 1.10, radius)[:, None]
    return np.clip(iris * (1 - rim) + sclera * rim, 0.003, 0.9)


def rigid(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rotation (3, 3) and translation (3,) that bring points (N, 3) closest to others (Kabsch 1976)."""
    centre, target = before.mean(0), after.mean(0)
    u, _, vt = np.linalg.svd((before - centre).T @ (after - target))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ flip @ u.T
    return rotation, target - rotation @ centre
