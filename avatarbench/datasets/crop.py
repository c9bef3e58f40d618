"""The square that a protocol cuts out of every frame, and the one resampling that brings it to size.

Coordinates are continuous, as MediaPipe's landmarks are: pixel ``i`` covers [i, i + 1), a row of W spans 0 to W.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarbench.method import Camera


@dataclass(frozen=True)
class Crop:
    """A square of ``side`` pixels whose top left corner is at (``x``, ``y``) of the full image."""

    x: float
    y: float
    side: float

    def to_dict(self) -> dict[str, float]:
        """Plain numbers, for a record from which a crop can be pasted back."""
        return asdict(self)


def face_crop(landmarks: NDArray[np.floating[Any]], image_shape: Sequence[int], scale: float) -> Crop:
    """A square around the face: ``scale`` times the larger side of the landmarks' bounding box, centred on that box.

    ``landmarks``: (N, 2 or more), x and y in pixels; ``image_shape``: (H, W, ...). At most the image's shorter side
    and shifted inside the image. Whole pixels, so that a landmarker's last digits, which differ between processors, do
    not change the picture. Raises ValueError for landmarks that span nothing or are not finite.
    """
    height, width = image_shape[:2]
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    extent = float((high - low).max())
    if not np.isfinite(extent) or extent <= 0:
        raise ValueError(f"a face needs landmarks that span an area; these span {extent} pixels")
    side = min(max(round(scale * extent), 1), height, width)
    x, y = (round(float(c) - side / 2) for c in (low + high) / 2)
    return Crop(min(max(x, 0), width - side), min(max(y, 0), height - side), side)


def square_crop(image_shape: Sequence[int]) -> Crop:
    """The largest centred square: what the image contract's crop ``"none"`` means for an image that is not square."""
    height, width = image_shape[:2]
    side = min(height, width)
    return Crop((width - side) // 2, (height - side) // 2, side)


def apply(image: NDArray[np.uint8], crop: Crop, size: int) -> NDArray[np.uint8]:
    """The square of an (H, W, 3) uint8 image as (size, size, 3), by one antialiased Lanczos resampling."""
    box = (crop.x, crop.y, crop.x + crop.side, crop.y + crop.side)
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((size, size), Image.Resampling.LANCZOS, box=box)
    return np.array(resized)


def apply_mask(mask: NDArray[np.float32], crop: Crop, size: int) -> NDArray[np.float32]:
    """The square of an (H, W) float32 mask as (size, size) in [0, 1], by the resampling that the image gets."""
    box = (crop.x, crop.y, crop.x + crop.side, crop.y + crop.side)
    whole = Image.fromarray(np.ascontiguousarray(mask, np.float32))
    resized = np.asarray(whole.resize((size, size), Image.Resampling.LANCZOS, box=box), np.float32)
    return np.clip(resized, 0, 1)  # Lanczos overshoots at edges


def paste_back(
    picture: NDArray[np.uint8],
    crop: Crop,
    original: NDArray[np.uint8],
    mask: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """The inverse of :func:`apply`: ``original`` (H, W, 3) with its square ``crop`` replaced by ``picture`` (S, S, 3).

    One Lanczos resampling to the square's own pixels; at equal sizes none, so that a crop pasted back gives the
    original to the bit. ``mask`` (S, S) in [0, 1] keeps the original where it is 0. Raises ValueError for a square that
    does not lie on whole pixels inside the original, as every crop of ours does.
    """
    height, width = original.shape[:2]
    x, y, side = (round(value) for value in (crop.x, crop.y, crop.side))
    if (x, y, side) != (crop.x, crop.y, crop.side) or min(x, y) < 0 or x + side > width or y + side > height:
        raise ValueError(f"{crop} is no square of whole pixels inside an image of {width} x {height}")
    placed = np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize((side, side), Image.Resampling.LANCZOS))
    result = original.copy()
    here = result[y : y + side, x : x + side]
    if mask is None:
        here[:] = placed
        return result
    part = apply_mask(mask, Crop(0, 0, mask.shape[0]), side)[..., None].astype(np.float64)
    here[:] = np.rint(placed * part + here * (1 - part)).astype(np.uint8)
    return result


def crop_camera(camera: Camera, crop: Crop, size: int) -> Camera:
    """The camera that takes the resampled square: its principal point moves with the corner, then all scales."""
    scale = size / crop.side
    moved = camera.K - np.array([[0, 0, crop.x], [0, 0, crop.y], [0, 0, 0]])
    K = np.diag([scale, scale, 1.0]) @ moved
    return Camera(K, camera.world_to_camera.copy(), size, size)
