"""Hair, ears, neck and background: rings from the face's rim, which moves, to the image's border, which does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .topology import OVAL, SKULL

Floats = NDArray[np.float64]

RINGS = (0.0, 0.06, 0.13, 0.22, 0.33, 0.46, 0.6, 0.74, 0.87, 1.0)
"""Where the rings are on the way from the rim (0) to the border (1)."""
RESIDUAL_REACH = 0.3
"""How far out a rim's own motion (the jaw's, mostly) is felt."""


@dataclass(frozen=True)
class Rigid:
    """A similarity in three dimensions: ``x -> scale * rotation @ x + shift``."""

    scale: float
    rotation: Floats
    shift: Floats

    def __call__(self, points: Floats) -> Floats:
        return self.scale * points @ self.rotation.T + self.shift


def head_motion(portrait: Floats, driven: Floats) -> Rigid:
    """The least-squares similarity between two (478, 3) sets of landmarks, by the points that expressions move little.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.
    """
    a, b = portrait[list(SKULL)], driven[list(SKULL)]
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    u, singular, vt = np.linalg.svd((b - mean_b).T @ (a - mean_a))
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign) @ vt
    scale = float((singular * sign).sum() / ((a - mean_a) ** 2).sum())
    return Rigid(scale, rotation, mean_b - scale * rotation @ mean_a)


class Surround:
    """The rings of one portrait. ``source``: (R * 36, 2); ``triangles`` in drawing order, the outermost ring first."""

    def __init__(self, portrait: Floats, shape: tuple[int, int]) -> None:
        rim = portrait[list(OVAL)]
        border = _border(rim[:, :2], shape)
        self._t = np.array(RINGS)[:, None, None]
        self._rings = rim[:, :2] + self._t * (border - rim[:, :2])
        self._rim = rim
        self.source = self._rings.reshape(-1, 2)
        columns, ahead = np.arange(len(OVAL)), np.roll(np.arange(len(OVAL)), -1)
        rows = []
        for ring in reversed(range(len(RINGS) - 1)):
            a, b = ring * len(OVAL), (ring + 1) * len(OVAL)
            rows += [
                np.stack([columns + a, ahead + a, columns + b], 1),
                np.stack([ahead + a, ahead + b, columns + b], 1),
            ]
        self.triangles = np.concatenate(rows)

    def under(self, driven: Floats, motion: Rigid) -> Floats:
        """(R * 36, 2): where the rings are when the rim is where the driver's (478, 3) landmarks put it.

        A ring moves as the head does, at its rim's depth, less and less towards the border.
        """
        depth = np.broadcast_to(self._rim[:, 2:], (*self._rings.shape[:2], 1))
        rigid = motion(np.concatenate([self._rings, depth], axis=-1))[..., :2]
        own = driven[list(OVAL), :2] - motion(self._rim)[:, :2]
        follow = 1 - self._t
        near = 1 - _smooth(self._t / RESIDUAL_REACH)
        return (self._rings + follow * (rigid - self._rings) + near * own).reshape(-1, 2)


def _border(rim: Floats, shape: tuple[int, int]) -> Floats:
    """(36, 2): where rays from the rim's middle through its points leave the image, or the rim where it is outside."""
    low = np.minimum(rim.min(axis=0), 0.0)
    high = np.maximum(rim.max(axis=0), [shape[1] - 1.0, shape[0] - 1.0])
    middle = rim.mean(axis=0)
    ray = rim - middle
    with np.errstate(divide="ignore"):
        reach = np.where(ray > 0, (high - middle) / ray, (low - middle) / ray)
    reach = np.where(ray == 0, np.inf, reach).min(axis=1)
    return middle + np.maximum(reach, 1.0)[:, None] * ray


def _smooth(t: Floats) -> Floats:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)
