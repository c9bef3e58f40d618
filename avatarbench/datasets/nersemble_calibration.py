"""NeRSemble's calibration files: cameras, and the colour correction of each camera."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import DataError
from avatarbench.method import Camera

FULL_SIZE = (2200, 3208)
"""Width and height that NeRSemble's intrinsics are for; ``image_size`` in the file says otherwise."""

# Polynomial terms of Cheung, Westland, Connah and Ripamonti 2004 by their number, in the order of their coefficients
# in the package `colour-science`, which made NeRSemble's matrices.
_LINEAR, _MIXED, _SQUARES, _CUBES = "R G B", "RG RB GB", "RR GG BB", "RRR GGG BBB"
_SECOND = f"{_LINEAR} {_MIXED} {_SQUARES}"
_CYCLE, _OTHER = "RRG GGB BBR", "RRB GGR BBG"
TERMS: dict[int, str] = {
    3: _LINEAR,
    4: f"{_LINEAR} 1",
    5: f"{_LINEAR} RGB 1",
    7: f"{_LINEAR} {_MIXED} 1",
    8: f"{_LINEAR} {_MIXED} RGB 1",
    10: f"{_SECOND} 1",
    11: f"{_SECOND} RGB 1",
    14: f"{_SECOND} RGB {_CUBES} 1",
    16: f"{_SECOND} RGB {_CYCLE} {_CUBES}",
    17: f"{_SECOND} RGB {_CYCLE} {_CUBES} 1",
    19: f"{_SECOND} RGB {_CYCLE} {_OTHER} {_CUBES}",
    20: f"{_SECOND} RGB {_CYCLE} {_OTHER} {_CUBES} 1",
    22: f"{_SECOND} RGB {_CYCLE} {_OTHER} {_CUBES} RRGB RGGB RGBB",
}


def read_camera(path: Path, serial: str, width: int, height: int) -> Camera:
    """The camera ``serial`` of ``camera_params.json``, in pixels of frames of ``width`` x ``height``.

    Raises DataError naming the file and the key that is missing or malformed, and for frames whose shape is not that of
    the calibration, which no scaling of the intrinsics can bring together.
    """
    content = _json(path)
    known = content.get("world_2_cam")
    if not isinstance(known, dict):
        raise DataError(f"{path} has no 'world_2_cam' with a matrix a camera: download or write it again.")
    if serial not in known:
        raise DataError(
            f"{path} has no world_2_cam['{serial}'], it has {', '.join(sorted(known)) or 'none'}: "
            "is it the calibration of another camera?"
        )
    pose = _matrix(path, f"world_2_cam['{serial}']", known[serial], (4, 4))
    R = pose[:3, :3]
    if not np.allclose(pose[3], [0, 0, 0, 1]) or not np.allclose(R @ R.T, np.eye(3), atol=1e-3) or np.linalg.det(R) < 0:
        raise DataError(f"{path}: world_2_cam['{serial}'] is not a rotation and a translation.")
    given = content.get("intrinsics")
    own = isinstance(given, dict)  # the benchmark's: each camera has its own, in pixels of the pictures beside it
    if isinstance(given, dict):
        given = given.get(serial)
    K = _matrix(path, f"intrinsics['{serial}']" if own else "intrinsics", given, (3, 3))
    if not np.allclose(K[2], [0, 0, 1]) or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise DataError(f"{path}: 'intrinsics' is not a camera matrix (focal lengths above 0, last row 0 0 1).")
    full = _size(path, content.get("image_size", (width, height) if own else FULL_SIZE))
    x, y = width / full[0], height / full[1]
    if not math.isclose(x, y, rel_tol=0.01):
        raise DataError(
            f"{path} is for images of {full[0]} x {full[1]}, and the frames have {width} x {height}: another shape, so "
            "the intrinsics cannot be scaled. Set 'image_size' in it, or use frames that were not cropped."
        )
    return Camera(np.diag([x, y, 1.0]) @ K, pose, width, height)


def read_colour(path: Path, serial: str) -> NDArray[np.float64]:
    """The (3, terms) colour matrix of a camera. Raises DataError naming the file and the key."""
    content = _json(path)
    if serial not in content:
        raise DataError(f"{path} has no entry '{serial}', it has {', '.join(sorted(content)) or 'none'}.")
    try:
        matrix = np.array(content[serial], dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.full((0, 0), np.nan)
    if matrix.ndim != 2 or matrix.shape[0] != 3 or matrix.shape[1] not in TERMS or not np.isfinite(matrix).all():
        raise DataError(
            f"{path}: '{serial}' is not a 3 x N matrix of finite numbers with N in {', '.join(map(str, TERMS))}."
        )
    return matrix


def read_affine_colour(path: Path) -> NDArray[np.float64]:
    """v1's (3, 4) affine map of one camera in one sequence, ``.npy``. Raises DataError naming the file."""
    try:
        matrix = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as an array ({error}): download it again.") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.shape[0] not in (3, 4) or matrix.shape[1] != 4:
        raise DataError(f"{path} is not an affine map of colours, 3 x 4: download it again.")
    if matrix.dtype.kind not in "fiu" or not np.isfinite(matrix).all():
        raise DataError(f"{path} holds values that are no finite numbers: download it again.")
    return matrix[:3].astype(np.float64)


def correct_affine(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """An (H, W, 3) uint8 image under a (3, 4) affine map of its sRGB values in [0, 1], row vectors, rounded.

    The definition of nersemble's ``nersemble_dataset.py``, which cuts off the decimals where this rounds.
    """
    moved = image / 255 @ matrix[:, :3] + matrix[:, 3]
    return np.round(255 * np.clip(moved, 0, 1)).astype(np.uint8)


def correct_colour(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """An (H, W, 3) uint8 sRGB image under a colour matrix: to linear light, Cheung's polynomial, back, rounded.

    The definition of ``nersemble_data.util.color_correction``, which cuts off the decimals where this rounds.
    """
    values = np.arange(256) / 255
    to_linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear = to_linear[image]
    channels = dict(zip("RGB", np.moveaxis(linear, -1, 0), strict=True))
    one = np.ones(image.shape[:2])
    corrected = np.zeros(linear.shape)
    for column, term in enumerate(TERMS[matrix.shape[1]].split()):
        value = math.prod((channels[c] for c in term), start=one) if term != "1" else one
        corrected += value[..., None] * matrix[:, column]
    corrected = np.clip(corrected, 0, 1)
    encoded = np.where(corrected <= 0.0031308, 12.92 * corrected, 1.055 * corrected ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}): download or write it again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {type(content).__name__}, not a mapping: download or write it again.")
    return content


def _matrix(path: Path, key: str, value: Any, shape: tuple[int, int]) -> NDArray[np.float64]:
    try:
        matrix = np.array(value, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.array(np.nan)
    if matrix.shape != shape or not np.isfinite(matrix).all():
        raise DataError(f"{path}: {key} is not a {shape[0]} x {shape[1]} matrix of finite numbers.")
    return matrix


def _size(path: Path, value: Any) -> tuple[int, int]:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int) and v > 0 for v in value):
        return value[0], value[1]
    raise DataError(f"{path}: 'image_size' is not [width, height] in whole pixels, it is {value!r}.")
