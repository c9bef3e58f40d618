"""The way each style is combed: a flow over the scalp, gravity, volume, and where the scissors went.

All lengths are metres on the reference head; z is up, the face looks along -y, x is the subject's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatarbench.openheads.hair_head import Head
from avatarbench.openheads.hair_regions import Floats, azimuth, smoothstep

_WHORL = np.array([0.012, 0.06, 0.14])
"""Where the hair of a crown turns out from."""


@dataclass(frozen=True)
class Comb:
    """``count`` roots tried; ``controls`` points a strand; ``radius`` metres; ``flow``: "crown", "parting", "back",
    "forward" or "out"; ``lift`` 0 flat to 1 upright at the root; ``gravity`` and ``comb`` per metre: how fast a
    strand turns down, and along the flow; ``layer``: thickness of the hair over the skull; ``taper``: share of the
    length at the nape and sides; ``curtain``: degrees of azimuth that the face is kept free of; ``covers_ears``;
    ``level``: height below which everything is cut, or None; ``frizz``: sideways scatter;
    ``hold`` 0 to 1: how closely the hair lies to the head."""

    count: int = 9000
    controls: int = 9
    radius: float = 0.00042
    flow: str = "crown"
    lift: float = 0.35
    gravity: float = 12.0
    comb: float = 60.0
    layer: float = 0.012
    taper: float = 0.45
    curtain: float = 0.0
    covers_ears: bool = False
    level: float | None = None
    frizz: float = 0.12
    hold: float = 0.5


COMBS = {
    "buzz": Comb(count=14000, controls=4, radius=0.00033, lift=0.6, gravity=0, comb=30, layer=0.01, taper=0.6, hold=0),
    "short": Comb(lift=0.5, gravity=10, comb=45, layer=0.012, taper=0.35, frizz=0.22, hold=0.25),
    "swept-back": Comb(flow="back", lift=0.55, gravity=8, comb=60, layer=0.016, taper=0.3, hold=0.4),
    "side-parting": Comb(flow="parting", lift=0.4, gravity=9, comb=60, layer=0.014, taper=0.28),
    "fringe": Comb(flow="forward", lift=0.3, gravity=10, comb=50, layer=0.012, taper=0.5),
    "curly": Comb(
        controls=14, lift=0.6, gravity=16, comb=20, layer=0.03, taper=0.6, frizz=0.3, hold=0.25, curtain=34
    ),
    "afro": Comb(
        count=12000, controls=10, flow="out", lift=1, gravity=0, comb=40, layer=0.1, taper=0.7, frizz=0.3, hold=0
    ),
    "bob": Comb(
        controls=11, radius=0.0005, flow="parting", lift=0.3, gravity=30, comb=45, layer=0.016, taper=1, curtain=48,
        covers_ears=True, level=-0.07, hold=0.6,
    ),
    "long": Comb(
        controls=12, radius=0.0005, flow="parting", lift=0.25, gravity=30, comb=45, layer=0.014, taper=1, curtain=50,
        covers_ears=True, hold=0.6,
    ),
    "long-wavy": Comb(
        controls=16, radius=0.0005, flow="parting", lift=0.35, gravity=26, comb=40, layer=0.022, taper=1, curtain=50,
        covers_ears=True, frizz=0.16,
    ),
}  # fmt: skip


def combed(
    comb: Comb, head: Head, roots: Floats, normals: Floats, lengths: Floats, parting: float, rng: np.random.Generator
) -> Floats:
    """(N, controls, 3) strands from ``roots`` (N, 3), each at most ``lengths`` (N,) long, outside of the head."""
    steps = int(np.clip(np.ceil(lengths.max() / 0.006), 6, 48))
    step = (lengths / steps)[:, None]
    thickness = comb.layer * (0.25 + 0.75 * rng.random(len(roots))) * (0.5 + 0.5 * smoothstep(roots[:, 2] / 0.12))
    sway = rng.normal(0, comb.frizz, roots.shape)
    root_gap = np.minimum(head.skull.distance(roots)[0], 0)
    limit = _brow_height(head) + rng.normal(0, 0.003, len(roots))

    path = [roots]
    flow = _flow(comb.flow, roots, parting)
    direction = _unit(comb.lift * normals + (1 - comb.lift) * flow + sway)
    for k in range(1, steps + 1):
        here = path[-1]
        run = k * step[:, 0]
        gap, outward = head.skull.distance(here)
        near = np.exp(-np.maximum(gap - thickness, 0) / 0.012)[:, None]
        flow = _flow(comb.flow, here, parting)
        if comb.hold:
            flow = flow - near * outward * (flow * outward).sum(1, keepdims=True)
        pull = comb.comb * near * _unit(flow + sway) + comb.gravity * (2 - near) * np.array([0, 0, -1.0])
        direction = _unit(direction + step * pull)
        rising = np.maximum((direction * outward).sum(1), 0) * smoothstep(gap / thickness)
        direction = _unit(direction - comb.hold * outward * rising[:, None])
        there = here + step * direction
        there = _part_curtain(there, comb.curtain, roots)
        there = _outside(head, there, run, thickness, root_gap, comb.covers_ears)
        direction = _unit(there - here)
        path.append(there)
    strand = np.stack(path, 1)
    return resampled(strand, _cut(strand, comb, limit, rng), comb.controls)


def _flow(name: str, p: Floats, parting: float) -> Floats:
    """(N, 3) unit directions in which hair is combed at positions (N, 3)."""
    top = smoothstep((p[:, 2:] - 0.085) / 0.04)
    down = np.stack([np.zeros(len(p)), 0.35 * np.ones(len(p)), -np.ones(len(p))], 1)
    away = p - _WHORL
    if name == "out":
        return _unit(p - [0, 0.005, 0.05])
    if name == "crown":
        swirl = np.stack([-away[:, 1], away[:, 0], np.zeros(len(p))], 1)
        turned = away + 0.35 * swirl
        calm = np.linalg.norm(turned, axis=1, keepdims=True) + 0.03  # no bare spot where the hair parts ways
        return _unit(top * turned / calm + (1 - top) * down + 0.05 * np.array([0, -1.0, 0]))
    if name == "forward":
        ahead = _unit(away * np.array([1, 1, 0])) + np.array([0.12 * parting, -0.5, 0])
        return _unit(top * ahead + (1 - top) * (down - np.array([0, 0.6, 0])))
    if name == "back":
        return _unit(top * np.array([0, 1.0, 0.05]) + (1 - top) * (down + np.array([0, 0.9, 0])))
    side = np.tanh((p[:, :1] - 0.045 * parting) / 0.006)
    across = np.concatenate([side, np.full((len(p), 1), 0.45), np.full((len(p), 1), 0.1)], 1)
    rear = smoothstep((p[:, 1:2] - 0.03) / 0.05)
    return _unit(top * (1 - rear) * across + (1 - top * (1 - rear)) * (down + np.array([0, 0.1, 0])))


def _part_curtain(p: Floats, curtain: float, roots: Floats) -> Floats:
    """The points, turned around the vertical axis out of the face's opening of ``curtain`` degrees a side."""
    if curtain == 0:
        return p
    throat = np.clip((-0.03 - p[:, 2]) / 0.06, 0, 1)  # below the chin the opening widens to the shoulders
    open_to = curtain * smoothstep((0.125 - p[:, 2]) / 0.05) + 22 * throat
    angle = azimuth(p)
    side = np.where(np.abs(p[:, 0]) > 0.004, np.sign(p[:, 0]), np.sign(roots[:, 0] + 1e-9))
    turned = np.radians(np.maximum(angle, open_to))
    radius = np.hypot(p[:, 0], p[:, 1])
    moved = np.stack([side * radius * np.sin(turned), -radius * np.cos(turned), p[:, 2]], 1)
    return np.where((angle < open_to)[:, None], moved, p)


def _outside(head: Head, p: Floats, run: Floats, thickness: Floats, root_gap: Floats, ears: bool) -> Floats:
    """The points, pushed out of the head: as deep as the root at first, later above it by a share of ``thickness``."""
    gap, outward = head.skull.distance(p)
    if ears:
        over = smoothstep((run - 0.01) / 0.02)
        gap = gap + over * (head.outline.distance(p)[0] - gap)
    need = root_gap + (0.001 - root_gap) * smoothstep(run / 0.01) + thickness * smoothstep(run / (4 * thickness + 1e-9))
    return p + outward * np.maximum(need - gap, 0)[:, None]


def _cut(strand: Floats, comb: Comb, limit: Floats, rng: np.random.Generator) -> Floats:
    """(N,) the share of each path (N, K, 3) that is left: cut above the brows, out of the face, and at the level."""
    height = strand[..., 2]
    angle = azimuth(strand)
    beyond: NDArray[np.bool_] = (angle < max(comb.curtain - 6, 30)) & (height < limit[:, None])
    if comb.curtain and comb.flow == "parting":  # no single hair across the forehead
        beyond |= (angle < 26) & (height < 0.103)
    if comb.level is not None:
        beyond |= height < comb.level + rng.normal(0, 0.003, len(strand))[:, None]
    first = np.where(beyond.any(1), beyond.argmax(1), strand.shape[1] - 1)
    return np.maximum(first, 1) / (strand.shape[1] - 1)


def _brow_height(head: Head) -> float:
    """Height of the middle of the brows of this head."""
    here = head.regions.vertices
    brow = (np.abs(here[:, 0]) < 0.045) & (here[:, 1] < -0.085) & (here[:, 2] > 0.058) & (here[:, 2] < 0.066)
    return float(head.vertices[brow, 2].mean()) + 0.004


def resampled(path: Floats, share: Floats, controls: int) -> Floats:
    """(N, controls, 3) points along the first ``share`` (N,) of paths (N, K, 3); the first two lie close together, so
    that the spline's phantom point stays near the skin."""
    at = np.concatenate([[0, 0.25], np.arange(1, controls - 1)]) / (controls - 2)
    where = at * share[:, None] * (path.shape[1] - 1)
    low = np.minimum(where.astype(int), path.shape[1] - 2)
    part = (where - low)[..., None]
    return (
        np.take_along_axis(path, low[..., None], 1) * (1 - part)
        + np.take_along_axis(path, low[..., None] + 1, 1) * part
    )


def _unit(v: Floats) -> Floats:
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-12)
