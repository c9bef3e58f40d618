"""FLAME tracking of the NeRSemble benchmark: ``tracking/flame2023_tracking_v2.npz``, of FLAME 2023, in world space.

Source: the package nersemble-benchmark 0.2.0 (data/benchmark_data.py, models/flame.py). No real file was at hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from avatarbench.errors import DataError
from avatarbench.method import Camera, FlameParameters
from avatarbench.npz import read_npz
from avatarbench.tracking.arrays import numbers

FILES = ("flame2023_tracking_v2.npz", "flame2023_tracking.npz")
"""The newer version first; the older one is downloaded on request alone."""

_ROWS = {"expression": 100, "rotation": 3, "translation": 3, "jaw": 3, "neck": 3, "eyes": 6}


class BenchmarkTrack:
    """One sequence. ``steps[i]``: the frame that row ``i`` is of.

    The benchmark moves FLAME's output by ``s R x + t``, R from Euler angles about the moving axes XYZ, where FLAME's
    own rotation is about the root joint; so the motion goes into the camera, exactly, for pictures do not tell a scale
    (``R x + t / s``), and ``rotation`` and ``translation`` are zero. Raises DataError naming file and key.
    """

    def __init__(self, path: Path) -> None:
        values = read_npz(path, "download it again")
        self.path = path
        rows = {key: numbers(values, key, path) for key in (*_ROWS, "frames")}
        count = rows["frames"].size
        for key, width in _ROWS.items():
            if rows[key].shape != (count, width):
                raise DataError(f"{path}: '{key}' has shape {rows[key].shape}, where ({count}, {width}) is expected.")
        shape, scale = numbers(values, "shape", path), numbers(values, "scale", path)
        if shape.shape != (1, 300) or scale.size != 1 or float(scale.reshape(-1)[0]) <= 0:
            raise DataError(f"{path}: 'shape' is not (1, 300), or 'scale' not one positive number: download it again.")
        self._rows = {key: rows[key].astype(np.float32) for key in _ROWS}
        self._shape, self._scale = shape.reshape(300).astype(np.float32), float(scale.reshape(-1)[0])
        self.steps: list[int] = [int(step) for step in rows["frames"].reshape(-1)]

    def __len__(self) -> int:
        return len(self.steps)

    def frame(self, row: int, camera: Camera) -> tuple[FlameParameters, Camera]:
        """The parameters of a row, and ``camera`` as it stands to the head's own axes."""
        values = {key: value[row] for key, value in self._rows.items()}
        moved = np.eye(4)
        moved[:3, :3] = Rotation.from_euler("XYZ", values["rotation"].astype(np.float64)).as_matrix()
        moved[:3, 3] = values["translation"].astype(np.float64)
        pose = camera.world_to_camera @ moved
        pose[:3, 3] /= self._scale
        zero = np.zeros(3, np.float32)
        flame = FlameParameters(
            shape=self._shape,
            expr=values["expression"],
            rotation=zero,
            neck_pose=values["neck"],
            jaw_pose=values["jaw"],
            eyes_pose=values["eyes"],
            translation=zero,
        )
        return flame, Camera(camera.K, pose, camera.width, camera.height)
