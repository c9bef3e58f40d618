"""From a film of linear light to a picture on white and its mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WHITE = np.float32(4.0)  # brighter samples are fireflies


def develop(film: NDArray[np.float32], scale: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """(H, W, 3) uint8 sRGB on white and (H, W) float32 mask of a (H scale, W scale, 4) film whose RGB is multiplied
    by its alpha."""
    height, width = film.shape[0] // scale, film.shape[1] // scale
    film = np.clip(np.nan_to_num(film), 0, _WHITE).reshape(height, scale, width, scale, 4).mean((1, 3))
    alpha = np.clip(film[..., 3:], 0, 1)
    light = film[..., :3] / np.maximum(alpha, 1e-6)
    shown = srgb(_tone(light)) * alpha + (1 - alpha)
    return np.round(shown * 255).astype(np.uint8), alpha[..., 0].astype(np.float32)


def _tone(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear up to 0.6, then a shoulder that reaches 1 only at infinity, so that highlights keep their form."""
    knee = np.float32(0.6)
    over = np.maximum(light - knee, 0)
    return np.where(light > knee, knee + (1 - knee) * (1 - np.exp(-over / (1 - knee))), light)


def srgb(linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear light in [0, 1] to sRGB (IEC 61966-2-1)."""
    low = 12.92 * linear
    return np.where(linear <= 0.0031308, low, 1.055 * np.maximum(linear, 0.0031308) ** np.float32(1 / 2.4) - 0.055)
