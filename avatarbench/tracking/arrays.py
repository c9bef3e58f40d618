"""Checks that the readers of other trackers' output share: shapes, numbers, rotations, paths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import DataError


def vector(values: Mapping[str, Any], key: str, size: int, where: Path) -> NDArray[np.float32]:
    """``values[key]`` flattened to (size,) float32; leading dimensions of one are dropped.

    Raises DataError naming file and key where it is missing, no numbers, of another shape, or not finite.
    """
    found = numbers(values, key, where)
    squeezed = found.reshape(found.shape[-1:]) if found.ndim and found.size == found.shape[-1] else found
    if squeezed.shape != (size,):
        raise DataError(f"{where}: '{key}' has shape {found.shape}, where ({size},) or (1, {size}) is expected.")
    return squeezed.astype(np.float32)


def numbers(values: Mapping[str, Any], key: str, where: Path) -> NDArray[Any]:
    """``values[key]`` as an array of finite numbers, a tensor's with or without a gradient. Raises DataError naming
    file and key."""
    if key not in values:
        known = ", ".join(sorted(map(str, values))) or "nothing"
        raise DataError(f"{where}: '{key}' is missing; the file holds {known}.")
    try:
        value = values[key]
        found = np.asarray(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor without a dense layout
        raise DataError(f"{where}: '{key}' is no array of numbers ({error}).") from error
    if found.dtype.kind not in "fiu":
        raise DataError(f"{where}: '{key}' holds {found.dtype}, where numbers are expected.")
    if not np.isfinite(found).all():
        raise DataError(f"{where}: '{key}' holds NaN or infinite values: track this frame again, or leave it out.")
    return found


def rigid(matrix: NDArray[Any], what: str) -> NDArray[np.float64]:
    """A (4, 4) rigid motion in float64. Raises DataError, its message beginning with ``what``, for anything else."""
    found = np.asarray(matrix, np.float64)
    if found.shape != (4, 4):
        raise DataError(f"{what} has shape {found.shape}, where (4, 4) is expected.")
    turn = found[:3, :3]
    away = float(np.abs(turn @ turn.T - np.eye(3)).max())
    if away > 1e-3 or np.linalg.det(turn) < 0 or not np.allclose(found[3], (0, 0, 0, 1), atol=1e-6):
        raise DataError(f"{what} is not a rotation and a translation (its axes are {away:.2g} from orthonormal).")
    return found


def inside(root: Path, relative: str, what: str) -> Path:
    """The file ``relative`` below ``root``. Raises DataError where that leads out of it, or nothing is there."""
    path = root / relative
    try:
        within = path.resolve().is_relative_to(root.resolve())
    except (OSError, ValueError) as error:
        raise DataError(f"{what} names '{relative}', which is no path: {error}.") from error
    if not within:
        raise DataError(f"{what} names '{relative}', which leads out of {root}: it is not read.")
    if not path.is_file():
        raise DataError(f"{what} names '{relative}', and {path} is not there: was the export copied whole?")
    return path
