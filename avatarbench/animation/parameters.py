"""Drivers that are a rig's own parameters: Anny's, as ``avatarbench track`` and OpenHeads write them, and FLAME's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avatarbench.animation.driver import MOST_SIDE, Driver, Frame, Pose, beyond
from avatarbench.errors import DataError
from avatarbench.gaussians.head import GaussianHead
from avatarbench.method import Camera, FlameParameters
from avatarbench.tracking.vhap import VhapExport

Arrays = Mapping[str, NDArray[Any]]
NO_FACE = "no face"
FLAME_SIZES = {"rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
"""Of a frame; ``expr`` may have fewer than 100."""


def of_states(arrays: Arrays, head: GaussianHead, path: Path) -> Driver:
    """``expression`` (T, E), ``joints`` (T, J, 3), ``translation`` (T, 3) and their names: ``anny.npz``, which also has
    the camera, and OpenHeads' ``truth.npz``. A frame of NaN has no face. Raises DataError for another rig's."""
    rig = head.rig
    for key, names in (("expression_names", rig.expression_names), ("joint_names", rig.joint_names)):
        have = tuple(map(str, arrays[key].tolist())) if key in arrays else ()
        if have != names:
            raise DataError(
                f"{path}: its '{key}' are not those of the avatar's rig '{rig.name}' ({len(have)} of them, and the rig "
                f"has {len(names)}): drive by parameters of that rig, or by a video."
            )
    count = len(arrays["expression"]) if arrays["expression"].ndim else 0
    if not count:
        raise DataError(f"{path}: 'expression' has no frame: track the driver again.")
    shapes = {
        "expression": (count, len(rig.expression_names)),
        "joints": (count, len(rig.joint_names), 3),
        "translation": (count, 3),
    }
    values = {key: _floats(arrays, key, shape, path) for key, shape in shapes.items()}
    empty = np.isnan(values["expression"]).all(1)
    _check_finite(values, empty, path)
    camera = _camera(arrays, path)
    size = None if camera is None else (camera.width, camera.height)

    def frames() -> Iterator[Frame]:
        for row in range(count):
            if empty[row]:
                yield Frame(None, None, NO_FACE)
                continue
            expression, joints, place = (torch.from_numpy(v[row].astype(np.float32)) for v in values.values())
            yield Frame(Pose(expression.clamp(0, 1), joints, place, camera))

    return Driver(count, 0.0, frames, size=size, notes=beyond(values["expression"]))


def of_flame(arrays: Arrays, head: GaussianHead, path: Path) -> Driver:
    """``expr`` (T, up to 100), ``rotation``, ``neck_pose``, ``jaw_pose`` (T, 3), ``eyes_pose`` (T, 6) and
    ``translation`` (T, 3), radians and metres, under VHAP's names. Raises DataError naming what is missing."""
    count = len(arrays["expr"]) if arrays["expr"].ndim == 2 else 0
    known = len(head.rig.expression_names)
    if not count or arrays["expr"].shape[1] > known:
        raise DataError(f"{path}: 'expr' is {arrays['expr'].shape}, where (T, up to {known}) is expected.")
    values = {key: _floats(arrays, key, (count, size), path) for key, size in FLAME_SIZES.items()}
    values["expr"] = _floats(arrays, "expr", arrays["expr"].shape, path)
    empty = np.isnan(values["expr"]).all(1)
    _check_finite(values, empty, path)

    def frames() -> Iterator[Frame]:
        for row in range(count):
            if empty[row]:
                yield Frame(None, None, NO_FACE)
                continue
            here = {key: value[row].astype(np.float32) for key, value in values.items()}
            yield Frame(_flame_pose(FlameParameters(shape=np.zeros(0, np.float32), **here), head))

    return Driver(count, 0.0, frames)


def of_export(folder: Path, head: GaussianHead) -> Driver:
    """A VHAP export: each of its moments once, under the first camera that ``transforms.json`` lists for it."""
    export = VhapExport(folder)
    first: dict[Path, int] = {}
    for index in range(len(export)):
        first.setdefault(export.flame_file(index), index)

    def frames() -> Iterator[Frame]:
        for index in first.values():
            flame, camera = export[index]
            yield Frame(_flame_pose(flame, head)._replace(camera=camera))

    camera = export.camera(0)
    return Driver(len(first), 0.0, frames, size=(camera.width, camera.height))


def _flame_pose(flame: FlameParameters, head: GaussianHead) -> Pose:
    joints = np.stack([flame.rotation, flame.neck_pose, flame.jaw_pose, *flame.eyes_pose.reshape(2, 3)])
    known = len(head.rig.expression_names)
    expression = torch.zeros(known)
    given = torch.from_numpy(flame.expr[:known])
    expression[: len(given)] = given
    return Pose(expression, torch.from_numpy(joints), torch.from_numpy(flame.translation))


def _floats(arrays: Arrays, key: str, shape: tuple[int, ...], path: Path) -> NDArray[Any]:
    found = arrays.get(key)
    if found is None or found.shape != shape or found.dtype.kind not in "fiu":
        has = "is missing" if found is None else f"is {found.shape} {found.dtype}"
        raise DataError(f"{path}: '{key}' {has}, where {shape} numbers are expected.")
    return found


def _check_finite(values: Arrays, empty: NDArray[np.bool_], path: Path) -> None:
    for key, value in values.items():
        wrong = np.flatnonzero(~np.isfinite(value).reshape(len(value), -1).all(1) & ~empty)
        if len(wrong):
            raise DataError(
                f"{path}: '{key}' of frame {wrong[0]} is not finite ({len(wrong)} frames in all): track them again, or "
                "leave them out."
            )


def _camera(arrays: Arrays, path: Path) -> Camera | None:
    if not {"K", "world_to_camera", "size"} <= arrays.keys():
        return None
    k, pose = _floats(arrays, "K", (3, 3), path), _floats(arrays, "world_to_camera", (4, 4), path)
    size = _floats(arrays, "size", (2,), path)
    if not (np.isfinite(k).all() and np.isfinite(pose).all() and ((size >= 1) & (size <= MOST_SIDE)).all()):
        raise DataError(
            f"{path}: its camera is not finite, or has no picture of 1 to {MOST_SIDE} pixels a side: track the driver "
            "again."
        )
    return Camera(k.astype(np.float64), pose.astype(np.float64), int(size[0]), int(size[1]))
