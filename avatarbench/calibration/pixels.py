"""Changes of a finished frame: blur, JPEG, shift. All on 8-bit sRGB values, (H, W, 3) uint8 in and out."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def changed(image: Image, kind: str, amount: float) -> Image:
    """``image`` under a kind of the group "image"; the sign of ``amount`` is the direction of a shift.

    Raises ValueError for another kind.
    """
    if kind == "blur":
        return blurred(image, amount)
    if kind == "jpeg":
        return compressed(image, round(100 - amount))
    if kind == "shift":
        return shifted(image, amount)
    raise ValueError(f"'{kind}' is not a change of pixels")


def blurred(image: Image, sigma: float) -> Image:
    """Gaussian of ``sigma`` pixels, cut at 4 sigma, the border repeated."""
    from scipy.ndimage import gaussian_filter

    return _to_bytes(gaussian_filter(image.astype(np.float64), (sigma, sigma, 0), mode="nearest", truncate=4.0))


def compressed(image: Image, quality: int) -> Image:
    """Through Pillow's baseline JPEG with its default chroma subsampling, 4:2:0, and back."""
    import PIL.Image

    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    with PIL.Image.open(stream) as back:
        return np.asarray(back.convert("RGB")).copy()


def shifted(image: Image, pixels: float) -> Image:
    """To the right by ``pixels``, the border repeated; fractions by cubic splines, which blur least."""
    from scipy.ndimage import shift

    return _to_bytes(shift(image.astype(np.float64), (0, pixels, 0), order=3, mode="nearest"))


def _to_bytes(values: NDArray[np.float64]) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
