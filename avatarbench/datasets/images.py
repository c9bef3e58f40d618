"""Still images in and out: whatever a camera or an editor writes, as 8-bit sRGB, with a note of what was done."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps

from avatarbench.errors import DataError
from avatarbench.files import writing

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 80_000_000
"""Above this an image is refused before its pixels are decoded: a small file can unpack to gigabytes."""

Backdrop = Literal["white", "black"]
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow and its codecs raise on damaged files, beside OSError.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError)


def read_image(path: Path | str, background: Backdrop = "white") -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Decode a still image to (H, W, 3) uint8 sRGB, with a note for every conversion that changed its pixels.

    Transparency is composited on ``background``; 16-bit values are divided by 257 and rounded; EXIF orientation and
    an embedded colour profile are applied. Raises DataError for whatever cannot be decoded in full.
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        with warnings.catch_warnings():
            # MAX_PIXELS is the limit here, and warnings of odd metadata would land inside a progress bar.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise DataError(_too_large(path, f"{width} x {height} pixels"))
                return _to_srgb(image, data, background)
    except Image.DecompressionBombError as error:
        raise DataError(_too_large(path, "far too many pixels")) from error
    except Image.UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not an image that can be read ({len(data)} bytes; PNG, JPEG, WebP, BMP and TIFF with 8 or 16 "
            "bits a channel can): convert it or remove it."
        ) from error
    except (*_DECODE_ERRORS, av.FFmpegError) as error:
        raise DataError(f"{path} is damaged or truncated ({error}): copy or export it again.") from error


def write_png(path: Path | str, image: NDArray[np.uint8]) -> None:
    """Write (H, W, 3) uint8 losslessly and atomically: ``path`` holds the whole image or what it held before.

    An OSError (a full disk) passes to the caller and leaves no temporary file behind.
    """
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"write_png takes (H, W, 3) uint8, got {image.shape} {image.dtype}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "PNG", compress_level=1)
    with writing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def require_one(paths: Sequence[Path]) -> None:
    """Raises DataError, a line each, where no one of ``paths`` is a file with something in it: a wrong path is told
    before what takes long is loaded. One that is wrong among others is told as it is read."""
    faults = []
    for path in paths:
        try:
            _read_bytes(path)
        except DataError as error:
            faults.append(str(error))
        else:
            return
    raise DataError("\n".join(faults))


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: check the path.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder where an image was expected: name a file inside it.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if not data:
        raise DataError(f"{path} is empty (0 bytes): copy or export it again.")
    return data


def _too_large(path: Path, size: str) -> str:
    return f"{path} has {size}, the limit is {MAX_PIXELS // 1_000_000} million: scale it down."


def _to_srgb(
    image: ImageFile.ImageFile, data: bytes, background: Backdrop
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    notes: list[str] = []
    deep = any(
        ";16" in str(tile.args) for tile in image.tile
    )  # before anything loads the image, which forgets its tiles
    count = getattr(image, "n_frames", 1)
    if count > 1:
        notes.append(f"first of {count} frames")
    orientation = image.getexif().get(_ORIENTATION, 1)
    mode = image.mode
    image.load()  # also for 16 bits, where another decoder follows that would fill what is missing with zeros
    if deep:
        pixels = _decode_deep(image, data)
        if not mode.startswith("I;16") and orientation in _TURNS:
            pixels = np.asarray(Image.fromarray(pixels).transpose(_TURNS[orientation]))
        notes.append("16-bit to 8-bit")
        if image.info.get("icc_profile"):
            notes.append("colour profile ignored (16-bit)")
    elif mode in ("F", "I"):
        raise ValueError(f"mode {mode}: one channel of 32 bits has no agreed range")
    else:
        upright = _apply_profile(ImageOps.exif_transpose(image), notes)
        pixels = np.asarray(upright.convert("RGBA" if upright.has_transparency_data else "RGB"))
    if mode in ("1", "L", "LA") or mode.startswith("I;16"):
        notes.append("grey-scale to RGB")
    elif mode not in ("RGB", "RGBA"):
        notes.append(f"{'palette' if mode in ('P', 'PA') else mode} to RGB")
    if orientation in _TURNS:
        notes.append("EXIF orientation applied")
    if pixels.shape[2] == 4:
        pixels = _composite(pixels, background)
        notes.append(f"transparency composited on {background}")
    return np.ascontiguousarray(pixels), tuple(notes)


def _decode_deep(image: Image.Image, data: bytes) -> NDArray[np.uint8]:
    """16-bit samples as (H, W, 3 or 4) uint8, rounded.

    Pillow keeps 16 bits for one channel only and cuts RGB to its high byte (255 / 256 of the value, rounded down), so
    several channels go through FFmpeg's decoder. The single channel comes oriented from TIFF and as stored from PNG.
    """
    if image.mode.startswith("I;16"):
        grey = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint32)
        deep = np.repeat(grey[..., None], 3, axis=2)
    else:
        wanted = "rgba64le" if image.mode in ("RGBA", "LA") else "rgb48le"
        with av.open(io.BytesIO(data), "r") as container:
            deep = next(container.decode(video=0)).reformat(format=wanted).to_ndarray().astype(np.uint32)
    return ((deep + 128) // 257).astype(np.uint8)


def _apply_profile(image: Image.Image, notes: list[str]) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA"):
        return image
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(embedded).strip()
        if "srgb" in name.lower():
            return image
        converted = ImageCms.profileToProfile(image, embedded, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError):
        notes.append("unreadable colour profile ignored")
        return image
    notes.append(f"colour profile '{name}' to sRGB")
    return image if converted is None else converted


def _composite(rgba: NDArray[np.uint8], background: Backdrop) -> NDArray[np.uint8]:
    alpha = rgba[..., 3:].astype(np.uint32)
    under = 255 if background == "white" else 0
    return ((rgba[..., :3] * alpha + under * (255 - alpha) + 127) // 255).astype(np.uint8)
