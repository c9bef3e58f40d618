"""Drivers that are tables of ARKit's 52 coefficients: a CSV as Live Link Face writes it, or arrays."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarbench.animation.driver import Driver, Frame, Pose, beyond, rate_of, turned
from avatarbench.errors import DataError
from avatarbench.gaussians.head import GaussianHead
from avatarbench.metrics.face import ARKIT_NAMES
from avatarbench.tracking.anny_fit import FOCAL_PRIOR, front_camera, world_rotation

CSV_FPS = 60.0
"""What Live Link Face records at; its time codes do not say."""
ANGLES = ("headyaw", "headpitch", "headroll")
OPTIONAL = {"tongueout"}
"""What MediaPipe does not read."""
MOST_ROWS = 1_000_000
NO_ROW = "no coefficients"

Rows = NDArray[np.float64]


def of_csv(path: Path, head: GaussianHead) -> Driver:
    """A CSV whose header names the coefficients, in any order and case; other columns are not read, but for HeadYaw,
    HeadPitch and HeadRoll: radians, to the person's left, upwards, and tilting to the person's right.

    A row whose coefficients are all empty is a frame without a face. Raises DataError naming the column or row that is
    at fault.
    """
    header, rows = _table(path)
    columns = {name.strip().lower(): place for place, name in enumerate(header)}
    arkit = _columns(rows, columns, head, path)
    turns = np.zeros((len(rows), 3))
    if lacking := [name for name in ANGLES if name not in columns]:
        if len(lacking) < len(ANGLES):
            raise DataError(f"{path} has head angles, but no {' and no '.join(lacking)}: give all three, or none.")
    else:
        angles = rows[:, [columns[name] for name in ANGLES]]
        turns = np.array([turned(*row) if np.isfinite(row).all() else row for row in angles])
    return _driver(arkit, turns, CSV_FPS, head, path)


def of_arrays(arrays: Mapping[str, NDArray[Any]], head: GaussianHead, path: Path) -> Driver:
    """``arkit`` (T, 52), named by ``arkit_names`` or in the landmarker's order; and, where they are there, ``rotation``
    (T, 3) axis-angle radians of the head in Anny's axes or ``head`` (T, 4, 4) MediaPipe's matrices, and ``fps``.

    A row of NaN is a frame without a face. Raises DataError naming the array or row at fault.
    """
    arkit = np.asarray(arrays["arkit"])
    if arkit.ndim != 2 or arkit.dtype.kind not in "fiu" or not len(arkit):
        raise DataError(f"{path}: 'arkit' is {arkit.shape} {arkit.dtype}, where (T, 52) numbers are expected.")
    named = None
    if "arkit_names" in arrays:
        named = [str(name).lower() for name in np.asarray(arrays["arkit_names"]).reshape(-1)]
    if named is None and arkit.shape[1] != len(ARKIT_NAMES):
        raise DataError(
            f"{path}: 'arkit' has {arkit.shape[1]} coefficients a frame, and ARKit has {len(ARKIT_NAMES)}: give all of "
            "them, or their names as 'arkit_names'."
        )
    names = named or [name.lower() for name in ARKIT_NAMES]
    if len(names) != arkit.shape[1]:
        raise DataError(f"{path}: there are {len(names)} 'arkit_names' for {arkit.shape[1]} coefficients.")
    columns = {name: place for place, name in enumerate(names)}
    values = arkit.astype(np.float64)
    fps = rate_of(arrays, path)
    ordered = _columns(values, columns, head, path)
    return _driver(ordered, _rotations(arrays, len(values), path), fps, head, path)


def _driver(values: Rows, turns: Rows, fps: float, head: GaussianHead, path: Path) -> Driver:
    """``values`` (T, E) in the rig's order; ``turns`` (T, 3) of the head."""
    empty = np.isnan(values).all(1)
    bad = ~(np.isfinite(values).all(1) & np.isfinite(turns).all(1)) & ~empty
    if bad.any():
        raise DataError(
            f"{path}: frame {np.flatnonzero(bad)[0]} has a value that is empty or not finite ({bad.sum()} frames in "
            "all): leave such frames out, or all of their coefficients empty, which holds the pose before."
        )
    rig = head.rig
    joint, still = rig.joint_names.index("head"), torch.zeros(3)

    def frames() -> Iterator[Frame]:
        for row, turn in zip(values, turns, strict=True):
            if np.isnan(row).all():
                yield Frame(None, None, NO_ROW)
                continue
            joints = torch.zeros(len(rig.joint_names), 3)
            joints[joint] = torch.from_numpy(turn.astype(np.float32))
            yield Frame(Pose(torch.from_numpy(row.clip(0, 1).astype(np.float32)), joints, still))

    return Driver(len(values), fps, frames, notes=beyond(values))


def _rotations(arrays: Mapping[str, NDArray[Any]], count: int, path: Path) -> Rows:
    """(T, 3) axis-angle radians in Anny's axes."""
    for key, shape in (("rotation", (count, 3)), ("head", (count, 4, 4))):
        if key in arrays and (arrays[key].shape != shape or arrays[key].dtype.kind not in "fiu"):
            raise DataError(f"{path}: '{key}' is {arrays[key].shape} {arrays[key].dtype}, where {shape} is expected.")
    if "rotation" in arrays:
        return np.asarray(arrays["rotation"], np.float64)
    if "head" not in arrays:
        return np.zeros((count, 3))
    camera = front_camera((1, 1), FOCAL_PRIOR)
    found = np.full((count, 3), np.nan)
    for row, matrix in enumerate(arrays["head"]):
        if np.isfinite(matrix).all():
            found[row] = Rotation.from_matrix(world_rotation(matrix, camera)).as_rotvec()
    return found


def _columns(rows: Rows, columns: Mapping[str, int], head: GaussianHead, path: Path) -> Rows:
    """(T, E) in the order of the rig's actions; what is optional and not there is zero where the others are there."""
    names = head.rig.expression_names
    wanted = [name.lower() for name in names]
    lacking = [name for name in names if name.lower() not in columns and name.lower() not in OPTIONAL]
    if lacking:
        shown = ", ".join(lacking[:4]) + (", ..." if len(lacking) > 4 else "")
        raise DataError(
            f"{path} has no coefficient for {len(lacking)} of ARKit's 52 actions ({shown}): name them in the header, "
            "e.g. EyeBlinkLeft, JawOpen."
        )
    there = [place for place, name in enumerate(wanted) if name in columns]
    found = np.zeros((len(rows), len(wanted)))
    found[:, there] = rows[:, [columns[wanted[place]] for place in there]]
    found[np.isnan(found[:, there]).all(1)] = np.nan
    return found


def _table(path: Path) -> tuple[list[str], Rows]:
    """The header and the numbers below it; NaN for an empty cell and in columns that are not read, as a time code."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = csv.reader(stream)
            header = next(lines, [])
            known = {*OPTIONAL, *ANGLES, *(name.lower() for name in ARKIT_NAMES)}
            read = [place for place, name in enumerate(header) if name.strip().lower() in known]
            rows: list[list[float]] = []
            for line in lines:
                if not any(cell.strip() for cell in line):
                    continue
                if len(line) != len(header):
                    raise DataError(
                        f"{path}: line {lines.line_num} has {len(line)} cells, and the header names {len(header)}."
                    )
                if len(rows) == MOST_ROWS:
                    raise DataError(f"{path} has more than {MOST_ROWS} frames: cut it.")
                rows.append(_numbers(line, read, header, f"{path}: line {lines.line_num}"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: check the path.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a CSV ({error}): save it as text in UTF-8.") from error
    if not rows:
        raise DataError(f"{path} has no frame: a header with the names of coefficients, then a line a frame.")
    return header, np.array(rows)


def _numbers(line: list[str], read: list[int], header: list[str], where: str) -> list[float]:
    found = [float("nan")] * len(line)
    for place in read:
        cell = line[place].strip()
        try:
            found[place] = float(cell) if cell else float("nan")
        except ValueError as error:
            raise DataError(f"{where} has {cell[:40]!r} for {header[place].strip()}, which is no number.") from error
    return found
