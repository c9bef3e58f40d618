"""From a method's own frame into the protocol's: one resampling, and what stands behind the person."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarbench.datasets.crop import Crop
from avatarbench.method import Background


def level(behind: Background) -> int:
    """The grey that stands for a background. A kept one cannot be invented: what lies outside of it is white."""
    return 0 if behind == "black" else 255


def on_background(image: NDArray[np.uint8], mask: NDArray[np.float32], behind: Background) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 with all that ``mask``, (H, W) in [0, 1], does not call foreground in the colour ``behind``."""
    cover = mask[..., np.newaxis]
    return np.rint(image * cover + level(behind) * (1 - cover)).astype(np.uint8)


def to_contract(rendered: NDArray[np.uint8], own: Crop, crop: Crop, size: int, behind: Background) -> NDArray[np.uint8]:
    """What a method rendered of its square ``own`` of a picture, as the protocol's square ``crop``: (size, size, 3).

    ``rendered``: (S, S, 3), or (S, S, 4) whose fourth channel says how much of a pixel is the person's; that is set on
    ``behind`` first. Where ``own`` does not reach, ``behind`` is seen. One antialiased Lanczos resampling; equal
    squares of equal size pass unchanged.
    """
    if rendered.shape[2] == 4:
        flat = on_background(rendered[..., :3], np.divide(rendered[..., 3], 255, dtype=np.float32), behind)
    else:
        flat = rendered
    scale = flat.shape[0] / own.side
    left, top, side = (crop.x - own.x) * scale, (crop.y - own.y) * scale, crop.side * scale
    height, width = flat.shape[:2]
    # A side that the square does reach gets no border: the resampling would draw its colour in.
    before_x, before_y, after_x, after_y = (
        math.ceil(gap) if gap > 1e-6 else 0 for gap in (-left, -top, left + side - width, top + side - height)
    )
    if before_x or before_y or after_x or after_y:
        border = ((before_y, after_y), (before_x, after_x), (0, 0))
        flat = np.pad(flat, border, constant_values=level(behind))
    low_x, low_y = max(left + before_x, 0.0), max(top + before_y, 0.0)
    box = (low_x, low_y, min(low_x + side, flat.shape[1]), min(low_y + side, flat.shape[0]))
    return np.asarray(
        Image.fromarray(np.ascontiguousarray(flat)).resize((size, size), Image.Resampling.LANCZOS, box=box)
    )


def covered(own: Crop, crop: Crop) -> float:
    """How much of ``crop`` lies in ``own``, from 0 to 1."""
    width = min(own.x + own.side, crop.x + crop.side) - max(own.x, crop.x)
    height = min(own.y + own.side, crop.y + crop.side) - max(own.y, crop.y)
    return max(width, 0) * max(height, 0) / crop.side**2
