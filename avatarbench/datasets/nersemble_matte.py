"""A rough foreground mask from a picture of the empty stage: what differs from it is taken for the person."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

LOW, HIGH = 10.0, 40.0
"""Levels of difference (of 255) that still count as background, and that surely do not."""


def difference_matte(image: NDArray[np.uint8], background: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W) float32 in [0, 1] from an (H, W, 3) frame and the empty stage, which is resized to the frame if need be.

    The largest difference of the three channels, smoothed over about 1/300 of the width against noise, then ramped
    from :data:`LOW` to :data:`HIGH`. Rough: it loses what has the background's colour and keeps shadows.
    """
    height, width = image.shape[:2]
    if background.shape[:2] != (height, width):
        background = np.asarray(Image.fromarray(background).resize((width, height), Image.Resampling.BOX))
    difference = np.abs(image.astype(np.float32) - background.astype(np.float32)).max(axis=2)
    smooth = ndimage.gaussian_filter(difference, sigma=max(width / 300, 0.5))
    return np.clip((smooth - LOW) / (HIGH - LOW), 0, 1).astype(np.float32)
