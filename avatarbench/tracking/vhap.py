"""What VHAP exports (its ``export_as_nerf_dataset``): ``transforms.json`` and ``flame_param/%05d.npz``.

Source: github.com/ShenhanQian/VHAP, vhap/export_as_nerf_dataset.py, and vhap/data/nerf_dataset.py, which reads it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from avatarbench.errors import DataError
from avatarbench.method import Camera, FlameParameters
from avatarbench.npz import read_npz
from avatarbench.tracking.arrays import inside, numbers, rigid, vector

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
"""Between a camera that looks along -z with y up (OpenGL, NeRF) and one along z with y down (OpenCV)."""

_INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h")
_SIZES = {
    "shape": 300,
    "expr": 100,
    "rotation": 3,
    "neck_pose": 3,
    "jaw_pose": 3,
    "eyes_pose": 6,
    "translation": 3,
}


class VhapExport:
    """The frames of ``transforms.json`` in its order: a picture of one camera at one time each, read when asked for.

    ``export[i]`` is (FlameParameters, Camera); the camera's axes are OpenCV's. ``division``: ``"train"`` for
    ``transforms_train.json``, and so on; ``val`` and ``test`` may be empty, as VHAP divides a single camera. ``root``:
    the folder that no file may lie outside of, by default the export's own; a combined export names the files of the
    exports beside it. Raises DataError naming the file and key that is missing or wrong.
    """

    def __init__(self, folder: Path | str, division: str = "", root: Path | None = None) -> None:
        self.folder = Path(folder)
        self.root = self.folder if root is None else root
        self.path = self.folder / (f"transforms_{division}.json" if division else "transforms.json")
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"{self.path} does not exist: name the folder of a VHAP export.") from error
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{self.path} cannot be read as JSON: {error}.") from error
        frames = found.get("frames") if isinstance(found, dict) else None
        empty = division in ("", "train") and not frames
        if not isinstance(frames, list) or empty or not all(isinstance(frame, dict) for frame in frames):
            raise DataError(f"{self.path}: 'frames' is no list of frames, as a VHAP export has.")
        self._shared: Mapping[str, Any] = found
        self.frames: list[Mapping[str, Any]] = frames

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[tuple[FlameParameters, Camera]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> tuple[FlameParameters, Camera]:
        """Raises IndexError for an index outside the frames."""
        return self.flame(index), self.camera(index)

    def camera(self, index: int) -> Camera:
        """The camera of a frame."""
        frame = self.frames[index]
        values = {key: frame.get(key, self._shared.get(key)) for key in _INTRINSICS}
        for key, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise DataError(f"{self.path}: frame {index} has '{key}' = {value!r}, where a number is expected.")
        if min(values[key] for key in ("fl_x", "fl_y", "w", "h")) <= 0:
            raise DataError(f"{self.path}: frame {index} has a focal length or size that is not positive: {values}.")
        matrix = numbers(frame, "transform_matrix", self.path)
        to_world = rigid(matrix, f"{self.path}: 'transform_matrix' of frame {index}")
        k = np.array([[values["fl_x"], 0, values["cx"]], [0, values["fl_y"], values["cy"]], [0, 0, 1]], np.float64)
        return Camera(k, np.asarray(np.linalg.inv(to_world @ OPENGL), np.float64), int(values["w"]), int(values["h"]))

    def flame_file(self, index: int) -> Path:
        """The file of a frame's parameters; frames of one time step share it."""
        path = self.file(index, "flame_param_path")
        if path is None:
            raise DataError(
                f"{self.path}: frame {index} has no 'flame_param_path': export again with --tgt-mode param."
            )
        return path

    def file(self, index: int, key: str) -> Path | None:
        """The file that a frame names under ``key``; None where it names none. Raises DataError for one that is not
        there, and for one outside the root."""
        relative = self.frames[index].get(key)
        if not isinstance(relative, str):
            return None
        inward = Path(os.path.relpath(self.folder.absolute(), self.root.absolute())) / relative
        return inside(self.root, str(inward), f"{self.path}: '{key}' of frame {index}")

    def flame(self, index: int) -> FlameParameters:
        """The parameters of a frame."""
        path = self.flame_file(index)
        values = read_npz(path, "export this frame again", only=(*_SIZES, "static_offset"))
        vectors = {key: vector(values, key, size, path) for key, size in _SIZES.items()}
        offset = None
        if "static_offset" in values:
            offset = numbers(values, "static_offset", path)
            if offset.ndim not in (2, 3) or offset.shape[-1] != 3 or (offset.ndim == 3 and len(offset) != 1):
                raise DataError(f"{path}: 'static_offset' has shape {offset.shape}, where (1, V, 3) is expected.")
            offset = offset.reshape(-1, 3).astype(np.float32)
        return FlameParameters(**vectors, static_offset=offset)
