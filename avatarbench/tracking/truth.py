"""OpenHeads' ``truth.npz`` beside a reading: its rows by frame number, and the true head as a camera sees it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarbench.errors import DataError
from avatarbench.heads.anny import JOINTS
from avatarbench.method import Camera
from avatarbench.npz import read_npz
from avatarbench.tracking.anny_fit import MEDIAPIPE

_TO_HEAD = ("root", "neck01", "neck02", "neck03", "head")


@dataclass(frozen=True)
class Truth:
    """``frames`` (T,) numbers; ``expression`` (T, 52); ``joints`` (T, 8, 3) axis-angle; ``translation`` (T, 3)."""

    frames: NDArray[np.int64]
    expression: NDArray[np.float32]
    joints: NDArray[np.float32]
    translation: NDArray[np.float32]
    expression_names: tuple[str, ...]
    path: Path

    def row(self, frame: int) -> int:
        """The row of a frame number. Raises DataError where there is none."""
        rows = np.flatnonzero(self.frames == frame)
        if not len(rows):
            raise DataError(f"{self.path} has no frame {frame}; it has {self.frames[0]} to {self.frames[-1]}.")
        return int(rows[0])


def read_truth(path: Path) -> Truth:
    """Raises DataError naming the file, and the key that is missing or misshapen."""
    arrays = read_npz(path, "copy or generate it again")
    count = arrays["frames"].size if "frames" in arrays else 0
    shapes = {
        "frames": (count,),
        "expression": (count, 52),
        "joints": (count, len(JOINTS), 3),
        "translation": (count, 3),
        "expression_names": (52,),
        "joint_names": (len(JOINTS),),
    }
    for key, shape in shapes.items():
        if key not in arrays or arrays[key].shape != shape:
            has = f"has shape {arrays[key].shape}" if key in arrays else "is missing"
            raise DataError(f"{path}: '{key}' {has}, where {shape} is expected.")
    if tuple(arrays["joint_names"].tolist()) != JOINTS:
        raise DataError(f"{path}: 'joint_names' are {', '.join(arrays['joint_names'])}, not {', '.join(JOINTS)}.")
    return Truth(
        frames=arrays["frames"].astype(np.int64),
        expression=arrays["expression"].astype(np.float32),
        joints=arrays["joints"].astype(np.float32),
        translation=arrays["translation"].astype(np.float32),
        expression_names=tuple(map(str, arrays["expression_names"].tolist())),
        path=path,
    )


def head_in_camera(joints: NDArray[np.floating], camera: Camera) -> NDArray[np.float64]:
    """(3, 3) rotation of the head from Anny's rest pose to the camera, in MediaPipe's axes: its head matrix's truth.

    ``joints``: (8, 3) axis-angle radians in the order of ``JOINTS``; those from the root to the head add up.
    """
    turn = np.eye(3)
    for name in _TO_HEAD:
        turn = turn @ Rotation.from_rotvec(np.asarray(joints[JOINTS.index(name)], np.float64)).as_matrix()
    flip = np.diag([1.0, -1.0, -1.0])
    return np.asarray(flip @ camera.world_to_camera[:3, :3] @ turn @ MEDIAPIPE.T, np.float64)
