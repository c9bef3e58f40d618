"""Cameras and FLAME parameters for shims: into OpenGL's and PyTorch3D's axes, and into a VHAP export.

Copied beside a shim into the method's own environment: Python 3.8, numpy and the standard library, and
:mod:`shim_tools` only where pictures are written. OpenCV's axes are x right, y down, z forward,
X_camera = R X_world + t; K and sizes in pixels. A value that cannot be converted raises ValueError.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
PYTORCH3D = np.diag([-1.0, -1.0, 1.0])
FLAME = {
    "translation": 3, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "shape": 300, "expr": 100,
}  # fmt: skip


def camera_to_world_opengl(world_to_camera: np.ndarray) -> np.ndarray:
    """OpenCV's (4, 4) world-to-camera -> OpenGL's and NeRF's camera-to-world: y up, looking along -z."""
    return np.linalg.inv(np.asarray(world_to_camera, np.float64)) @ OPENGL


def world_to_camera_opencv(camera_to_world: np.ndarray) -> np.ndarray:
    """The inverse of :func:`camera_to_world_opengl`."""
    return np.linalg.inv(np.asarray(camera_to_world, np.float64) @ OPENGL)


def pytorch3d_pose(world_to_camera: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """OpenCV's (4, 4) -> PyTorch3D's R (3, 3) and T (3,): x left, y up, rows, X_camera = X_world R + T."""
    pose = np.asarray(world_to_camera, np.float64)
    return (PYTORCH3D @ pose[:3, :3]).T, PYTORCH3D @ pose[:3, 3]


def opencv_from_pytorch3d(R: np.ndarray, T: np.ndarray) -> np.ndarray:
    """The inverse of :func:`pytorch3d_pose`: (4, 4)."""
    pose = np.eye(4)
    pose[:3, :3] = PYTORCH3D @ np.asarray(R, np.float64).T
    pose[:3, 3] = PYTORCH3D @ np.asarray(T, np.float64)
    return pose


def pytorch3d_intrinsics(K: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """K in pixels -> PyTorch3D's NDC focal length (2,) and principal point (2,), in halves of the shorter side."""
    half = min(width, height) / 2.0
    K = np.asarray(K, np.float64)
    centre = np.array([width / 2.0 - K[0, 2], height / 2.0 - K[1, 2]])
    return np.array([K[0, 0], K[1, 1]]) / half, centre / half


def scaled_camera(camera: Mapping[str, Any], size: int) -> dict[str, Any]:
    """A square picture's camera as one of ``size`` pixels: intrinsics scale with the picture."""
    if camera["width"] != camera["height"]:
        raise ValueError(f"a camera of {camera['width']}x{camera['height']} is not square")
    scale = size / float(camera["width"])
    K = np.diag([scale, scale, 1.0]) @ np.asarray(camera["K"], np.float64)
    return dict(camera, K=K, width=size, height=size)


def flame_arrays(flame: Mapping[str, Any]) -> dict[str, Any]:
    """FLAME parameters in the shapes of VHAP's files: (1, n) each, ``shape`` (300,), float32, whether the tracker gave
    fewer coefficients or not. Raises ValueError for more than there are."""
    found = {}
    for name, width in FLAME.items():
        values = np.asarray(flame[name], np.float32).reshape(-1)
        if values.size > width:
            raise ValueError(f"FLAME's '{name}' has {values.size} values, at most {width} are known")
        padded = np.concatenate([values, np.zeros(width - values.size, np.float32)])
        found[name] = padded if name == "shape" else padded[None]
    if flame.get("static_offset") is not None:
        found["static_offset"] = np.asarray(flame["static_offset"], np.float32).reshape(1, -1, 3)
    return found


def vhap_folder(
    path: str,
    motions: Sequence[Mapping[str, Any]],
    size: int | None = None,
    write_image: Callable[[str, np.ndarray], Any] | None = None,
) -> str:
    """A VHAP export of ``motions``: ``transforms.json``, ``flame_param/%05d.npz``, ``canonical_flame_param.npz``, and
    their pictures where ``write_image`` (:func:`shim_tools.write_image`) is given.

    Frame i is ``motions[i]``, whatever its own index. ``size``: intrinsics as of square pictures of that many pixels.
    Raises ValueError for a motion without FLAME parameters or camera. Returns ``path``.
    """
    os.makedirs(os.path.join(path, "flame_param"), exist_ok=True)
    frames = []
    for index, motion in enumerate(motions):
        if motion.get("flame") is None or motion.get("camera") is None:
            raise ValueError("'{}' has no FLAME parameters or no camera".format(motion.get("id", index)))
        arrays = flame_arrays(motion["flame"])
        name = f"flame_param/{index:05d}.npz"
        np.savez(os.path.join(path, name), **arrays)
        if index == 0:
            rest = {key: values if key in ("shape", "static_offset") else values * 0 for key, values in arrays.items()}
            rest["jaw_pose"] = np.array([[0.3, 0, 0]], np.float32)  # VHAP's canonical mouth is open
            np.savez(os.path.join(path, "canonical_flame_param.npz"), **rest)
        camera = motion["camera"] if size is None else scaled_camera(motion["camera"], size)
        frame = {
            "timestep_index": index,
            "timestep_index_original": index,
            "timestep_id": f"{index:05d}",
            "camera_index": 0,
            "camera_id": "0",
            "transform_matrix": camera_to_world_opengl(camera["world_to_camera"]).tolist(),
            "file_path": f"images/{index:05d}_00.png",
            "flame_param_path": name,
        }
        frame.update(_intrinsics(camera))
        frames.append(frame)
        if write_image is not None:
            write_image(os.path.join(path, frame["file_path"]), motion["image"])
    shared = {key: frames[-1][key] for key in _INTRINSICS} if frames else {}
    everything = dict(frames=frames, timestep_indices=list(range(len(frames))), camera_indices=[0], **shared)
    with open(os.path.join(path, "transforms.json"), "w", encoding="utf-8") as file:
        json.dump(everything, file, indent=1)
    return path


_INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y")


def _intrinsics(camera: Mapping[str, Any]) -> dict[str, Any]:
    K, width, height = np.asarray(camera["K"], np.float64), int(camera["width"]), int(camera["height"])
    angles = [2 * math.atan(side / (2 * K[i, i])) for i, side in enumerate((width, height))]
    values = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]), width, height, *angles)
    return dict(zip(_INTRINSICS, values))  # noqa: B905  (Python 3.8)
