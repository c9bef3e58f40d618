"""Portraits and drivers for the stand-ins with a face detector: a disc on grey, which is what they take for a face."""

from __future__ import annotations

import numpy as np

from avatarbench.method import FaceTrack, Motion, Portrait
from tests.standins.faces import HEAD

GREY = 90
SEEN = FaceTrack(np.zeros((478, 3), np.float32), np.zeros(52, np.float32), np.eye(4, dtype=np.float32))
"""Says that there is a face; the stand-ins look for it themselves."""

Colour = tuple[int, int, int]
Place = tuple[float, float]


def disc(colour: Colour, centre: Place, radius: float, size: int) -> np.ndarray:
    """(size, size, 3) uint8: a disc about ``centre`` (x, y), pixel corners at whole numbers."""
    y, x = np.mgrid[:size, :size] + 0.5
    image = np.full((size, size, 3), GREY, np.uint8)
    image[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2] = colour
    return image


def portrait(colour: Colour = (200, 150, 40), size: int = 128) -> Portrait:
    return Portrait("person/000000", disc(colour, (size * 0.5, size * 0.45), size * 0.28, size), face=SEEN)


def motion(index: int, colour: Colour, size: int = 128, sequence: str = "talk") -> Motion:
    """A driver whose disc moves with ``index``."""
    centre = size * (0.46 + 0.03 * index), size * (0.52 - 0.02 * index)
    image = disc(colour, centre, size * 0.27, size)
    return Motion(f"person/{sequence}/{index:06d}", index, image, face=SEEN)


def faceless(index: int, size: int = 128) -> Motion:
    return Motion(f"person/talk/{index:06d}", index, np.full((size, size, 3), GREY, np.uint8), face=None)


def nose(driver: Motion) -> np.ndarray:
    """Where a stand-in's detector finds the nose of a driver, (x, y) in its pixels."""
    ys, xs = np.nonzero((driver.image != GREY).any(axis=2))
    unit = 0.5 * np.sqrt(len(xs))
    return np.array([xs.mean() + 0.5 + HEAD[2, 0] * unit, ys.mean() + 0.5 - HEAD[2, 1] * unit])


def mark(image: np.ndarray) -> np.ndarray:
    """The middle of the black square that a stand-in paints about the nose, (x, y)."""
    there = (image[..., :3] < 30).all(axis=2)
    if image.shape[2] == 4:
        there &= image[..., 3] > 0
    ys, xs = np.nonzero(there)
    return np.array([xs.mean() + 0.5, ys.mean() + 0.5])
