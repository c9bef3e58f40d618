"""The sixteen cameras of OpenHeads: NeRSemble's serials, on three heights of a front quarter sphere.

Where each one stands is ours; 222200037 is exactly frontal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import UsageError
from avatarbench.method import Camera
from avatarbench.openheads.tracks import Draw

SERIALS: tuple[str, ...] = (
    *("222200042", "222200044", "222200046", "222200040", "222200036", "222200048", "220700191", "222200041"),
    *("222200037", "222200038", "222200047", "222200043", "222200049", "222200039", "222200045", "221501007"),
)
"""In NeRSemble's own order, which here runs from the subject's right to the left."""

FRONTAL = "222200037"
DISTANCE = 1.0
"""Metres from the point that every camera looks at."""
TARGET = (0.0, -0.04, 0.038)
"""That point: the middle of a head at rest, metres from its head joint."""
FIELD = 0.40
"""Metres that the shorter side of a picture spans at the target."""
TARGET_AZIMUTH = 32.0
"""Degrees beyond which no target camera is drawn: there a turned head would show its profile or less."""

_AZIMUTH = 45.0
_HEIGHTS = (0.0, 16.0, -12.0)  # degrees of elevation, in turn


def directions() -> dict[str, tuple[float, float]]:
    """Azimuth (positive to the subject's left) and elevation of every camera, degrees."""
    middle = SERIALS.index(FRONTAL)
    left, right = len(SERIALS) - 1 - middle, middle
    return {
        serial: (_AZIMUTH * (at - middle) / (left if at > middle else right), _HEIGHTS[(at - middle) % 3])
        for at, serial in enumerate(SERIALS)
    }


def intrinsics(width: int, height: int) -> NDArray[np.float64]:
    """(3, 3) pixels; the principal point is the picture's middle, at (width / 2, height / 2)."""
    focal = round(DISTANCE / FIELD * min(width, height), 6)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float64)


def rig_cameras(width: int, height: int | None = None) -> dict[str, Camera]:
    """Every camera by serial, for pictures of ``width`` x ``height`` pixels, square where one number is given."""
    size = (width, height or width)
    return {
        serial: Camera(intrinsics(*size), look_at(azimuth, elevation), *size)
        for serial, (azimuth, elevation) in directions().items()
    }


def look_at(azimuth: float, elevation: float) -> NDArray[np.float64]:
    """(4, 4) world to camera, OpenCV axes, for a camera on the sphere about the target; 9 decimals."""
    a, e = math.radians(azimuth), math.radians(elevation)
    outward = np.array([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)])
    right = np.array([math.cos(a), math.sin(a), 0.0])
    rotation = np.stack([right, np.cross(-outward, right), -outward])
    found = np.eye(4)
    found[:3, :3] = rotation
    found[:3, 3] = -rotation @ (np.array(TARGET) + DISTANCE * outward)
    return np.round(found, 9) + 0.0  # no negative zeros in the files


def spread(count: int) -> tuple[str, ...]:
    """``count`` serials, the frontal one first, then always the one farthest in azimuth from all so far.

    Raises UsageError where there are not as many.
    """
    if not 1 <= count <= len(SERIALS):
        raise UsageError(f"{count} cameras were asked for; the rig has {len(SERIALS)}: {', '.join(SERIALS)}.")
    azimuth = {serial: where[0] for serial, where in directions().items()}
    chosen = [FRONTAL]
    while len(chosen) < count:
        rest = [serial for serial in SERIALS if serial not in chosen]
        chosen.append(max(rest, key=lambda s: min(abs(azimuth[s] - azimuth[c]) for c in chosen)))
    return tuple(chosen)


def target_cameras(seed: int, index: int, count: int = 3) -> tuple[str, ...]:
    """``count`` serials: the frontal one, then drawn ones of both sides in turn, within :data:`TARGET_AZIMUTH`.

    Raises UsageError where there are not as many.
    """
    where: Mapping[str, tuple[float, float]] = directions()
    draw = Draw(seed, "target cameras", index)
    sides = []
    for sign in (-1, 1):
        near = [s for s in SERIALS if 0 < sign * where[s][0] <= TARGET_AZIMUTH]
        sides.append([near[at] for at in draw.shuffled(len(near))])
    sides = sides[::-1] if draw.index(2) else sides
    both = [serial for pair in zip(*sides, strict=False) for serial in pair]
    if not 1 <= count <= 1 + len(both):
        raise UsageError(f"{count} target cameras were asked for; there are 1 to {1 + len(both)}.")
    return (FRONTAL, *both[: count - 1])
