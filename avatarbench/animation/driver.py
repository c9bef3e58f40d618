"""What an avatar is driven by, frame by frame, whatever it was read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.method import Camera

SLACK = 1e-3
"""Beyond [0, 1] by this a coefficient is rounding, and is not counted."""


class Pose(NamedTuple):
    """``expression`` (E,), ``joints`` (J, 3) axis-angle radians, ``translation`` (3,) metres, as
    :meth:`avatarbench.gaussians.head.GaussianHead.posed` takes them; ``camera``: what the driver was seen by in that
    world, None where it is not known."""

    expression: Tensor
    joints: Tensor
    translation: Tensor
    camera: Camera | None = None


class Frame(NamedTuple):
    """``pose``: None where the driver has no face, and ``reason`` says so; ``picture`` (H, W, 3) uint8 sRGB, where the
    driver is made of pictures."""

    pose: Pose | None
    picture: NDArray[np.uint8] | None = None
    reason: str = ""


MOST_FPS = 1000.0
MOST_SIDE = 16_384
"""Pixels of a driver's picture."""


def rate_of(arrays: Mapping[str, NDArray[Any]], path: Path) -> float:
    """``fps`` of an .npz, 0 where there is none. Raises DataError for what is no frame rate."""
    if "fps" not in arrays:
        return 0.0
    found = np.asarray(arrays["fps"])
    if found.size != 1 or found.dtype.kind not in "fiu" or not 0 < float(found.reshape(())) <= MOST_FPS:
        raise DataError(f"{path}: 'fps' is {found!r}, where one number above 0 and at most {MOST_FPS:g} is expected.")
    return float(found.reshape(()))


@dataclass
class Driver:
    """``count`` frames, read one after the other by ``frames``; ``fps``: 0 where the driver does not say.

    ``size``: width and height of its camera's picture, None where it has no camera; ``pictures``: whether its frames
    have them. ``notes``: what a user should know; they grow as frames are read.
    """

    count: int
    fps: float
    frames: Callable[[], Iterator[Frame]]
    size: tuple[int, int] | None = None
    pictures: bool = False
    notes: list[str] = field(default_factory=list)


def beyond(values: NDArray[np.floating]) -> list[str]:
    """What to say of actions (T, E) outside [0, 1], which are moved to its border; nothing where there are none."""
    count = int(((values < -SLACK) | (values > 1 + SLACK)).sum())
    return [f"{count} coefficients lay outside [0, 1] and were moved to its border."] if count else []


def turned(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """(3,) axis-angle radians in Anny's axes of a head that turns by ``yaw`` radians to the person's left, looks up by
    ``pitch``, and tilts to the person's right by ``roll``: roll first, then pitch, then yaw."""
    axes = ((0.0, 0.0, yaw), (-pitch, 0.0, 0.0), (0.0, -roll, 0.0))
    whole = Rotation.identity()
    for axis in axes:
        whole = whole * Rotation.from_rotvec(axis)
    return np.asarray(whole.as_rotvec())
