"""From a film of linear light to a clean picture on white and its mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import rank_filter, uniform_filter

Image = NDArray[np.float32]

_EXPOSURE = np.float32(1.25)
_FIREFLY = np.float32(4.0)
_TOLERANCE = np.float32(0.35)  # of non-local means, in variances
_REACH = 2  # pixels to each side that a pixel is averaged with


def develop(film: Image) -> tuple[NDArray[np.uint8], Image]:
    """(H, W, 3) uint8 sRGB on white and (H, W) float32 mask of a (2 H, 2 W, 4) film: light times alpha, alpha."""
    height, width = film.shape[0] // 2, film.shape[1] // 2
    film = np.nan_to_num(film)
    film[..., :3] = np.clip(film[..., :3] * _EXPOSURE, 0, _FIREFLY)
    parts = film.reshape(height, 2, width, 2, 4).transpose(1, 3, 0, 2, 4)
    alpha = np.clip(parts[..., 3].mean((0, 1)), 0, 1)
    shown = np.ones((height, width, 3), np.float32)
    rows, columns = np.nonzero(alpha)
    if len(rows):
        window = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        cover = alpha[window][..., None]
        shown[window] = srgb(_tone(denoised(parts[:, :, *window]))) * cover + (1 - cover)
    return np.round(shown * 255).astype(np.uint8), alpha.astype(np.float32)


def denoised(parts: Image) -> Image:
    """(H, W, 3) light of the four quarters (2, 2, H, W, 4) of pixels, without most of the sampling noise.

    Non-local means over a few pixels, whose tolerance is the noise (after Rousselle, Knaus and Zwicker 2012). The noise
    is what a pixel's two diagonals disagree by: form and colour, near enough linear in a pixel, cancel in it.
    """
    cover = parts[..., 3].mean((0, 1))[..., None]
    light = parts[..., :3].mean((0, 1)) / np.maximum(cover, 1e-6)
    # A pixel brighter than all around it is a rare path that hit a light, or an eye's highlight, which is several wide.
    light = np.minimum(light, 1.1 * rank_filter(light, -2, (3, 3, 1), mode="nearest") + np.float32(0.01))
    apart = (parts[0, 0] + parts[1, 1] - parts[0, 1] - parts[1, 0])[..., :3] / 4 / np.maximum(cover, 0.1)
    noise = uniform_filter(apart**2, (3, 3, 1), mode="nearest") + np.float32(1e-6)
    total, weights = light * cover, cover.copy()
    for here, there in _neighbours(light.shape[:2]):
        both = noise[here] + noise[there]
        unlike = ((light[here] - light[there]) ** 2 - both) / (_TOLERANCE * both)
        unlike = uniform_filter(unlike.mean(-1), 3, mode="nearest")
        weight = np.exp(-np.clip(unlike, 0, 30))[..., None]
        total[here] += weight * cover[there] * light[there]
        weights[here] += weight * cover[there]
        total[there] += weight * cover[here] * light[here]
        weights[there] += weight * cover[here]
    found: Image = total / np.maximum(weights, 1e-6)
    return found


def _neighbours(shape: tuple[int, int]) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
    """Every pair of windows of a picture that are a step apart, each pair once."""
    height, width = shape
    for dy in range(_REACH + 1):
        for dx in range(-_REACH, _REACH + 1):
            if (dy, dx) > (0, 0) and dy < height and abs(dx) < width:
                left, right = slice(max(0, -dx), width - max(0, dx)), slice(max(0, dx), width + min(0, dx))
                yield (slice(0, height - dy), left), (slice(dy, height), right)


def _tone(light: Image) -> Image:
    """Linear up to 0.6, then a shoulder that reaches 1 only at infinity, so that highlights keep their form."""
    knee = np.float32(0.6)
    over = np.maximum(light - knee, 0)
    return np.where(light > knee, knee + (1 - knee) * (1 - np.exp(-over / (1 - knee))), light)


def srgb(linear: Image) -> Image:
    """Linear light in [0, 1] to sRGB (IEC 61966-2-1)."""
    low = 12.92 * linear
    return np.where(linear <= 0.0031308, low, 1.055 * np.maximum(linear, 0.0031308) ** np.float32(1 / 2.4) - 0.055)
