"""The crop of Deep3DFaceRecon, which Portrait4D and AvatarArtist align every picture with, and the way back from it.

Copied beside their shims: Python 3.8, numpy; Pillow inside. Both find five points of the face, fit a standard head to
them by scaled orthography, scale the picture so that the head has one size, and cut a square about its middle. They
neither rotate nor shear, and they render the driver's aligned square, not the driver's picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

HEAD = np.array(
    [
        [-0.31148657, 0.19036078, 0.53377953],
        [0.30979887, 0.18972035, 0.53179526],
        [0.0032535, -0.14617933, 0.95244243],
        [-0.25216928, -0.4813392, 0.62405732],
        [0.2484662, -0.4812824, 0.62235769],
    ]
)
"""(5, 3): eyes, nose, corners of the mouth of the standard head, decimetres, y up, as both repositories state them."""


@dataclass(frozen=True)
class Aligned:
    """A square of ``side`` pixels cut at (``left``, ``top``) of the picture resized to ``width`` x ``height``."""

    width: int
    height: int
    left: float
    top: float
    side: float


def aligned(size: tuple[int, int], scale: float, centre: tuple[float, float], side: int) -> Aligned:
    """The crop of a picture of ``size`` (width, height): scaled by ``scale``, about ``centre`` in its pixels, y up.

    Source: ``resize_n_crop_img`` of both repositories, which cuts off fractions of pixels towards zero.
    """
    wide, high = int(size[0] * scale), int(size[1] * scale)
    left = int(wide / 2 - side / 2 + (centre[0] - size[0] / 2) * scale)
    top = int(high / 2 - side / 2 + (size[1] / 2 - centre[1]) * scale)
    return Aligned(wide, high, left, top, side)


def fitted(points: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Pixels a unit of the standard head, and its middle (x, y): (5, 2) points, y up. Source: ``POS`` of both."""
    x = np.linalg.lstsq(np.concatenate([HEAD, np.ones((5, 1))], axis=1), np.asarray(points, np.float64), rcond=None)[0]
    size = (np.linalg.norm(x[:3, 0]) + np.linalg.norm(x[:3, 1])) / 2
    return float(size), (float(x[3, 0]), float(x[3, 1]))


def back(square: np.ndarray, crop: Aligned, size: tuple[int, int]) -> np.ndarray:
    """A rendered square, (S, S, 3) uint8, put back where ``crop`` was cut from a picture of ``size`` (width, height).

    (height, width, 4) uint8; the last channel is 0 where the square does not reach. One Lanczos resampling.
    """
    from PIL import Image

    resampling: Any = getattr(Image, "Resampling", Image)  # Pillow below 9.1 has the filters at the top
    zoom = square.shape[0] / crop.side
    spans = []
    for start, resized, full in ((crop.left, crop.width, size[0]), (crop.top, crop.height, size[1])):
        per_pixel = resized / full
        first = max(0, int(np.ceil(start / per_pixel - 1e-9)))
        last = min(full, int(np.floor((start + crop.side) / per_pixel + 1e-9)))
        spans.append((first, last, (first * per_pixel - start) * zoom, (last * per_pixel - start) * zoom))
    (x0, x1, left, right), (y0, y1, top, bottom) = spans
    found = np.zeros((size[1], size[0], 4), np.uint8)
    if x1 > x0 and y1 > y0:
        most = float(square.shape[0])
        box = (max(left, 0.0), max(top, 0.0), min(right, most), min(bottom, most))
        part = Image.fromarray(np.ascontiguousarray(square)).resize((x1 - x0, y1 - y0), resampling.LANCZOS, box=box)
        found[y0:y1, x0:x1, :3] = np.asarray(part)
        found[y0:y1, x0:x1, 3] = 255
    return found
