"""Tiny NeRSemble and OpenHeads folders, written as their layout says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.e2e.media import write_video

FRONTAL, LEFT, RIGHT = "222200037", "222200042", "221501007"
SERIALS = (FRONTAL, LEFT, RIGHT)
SIZE = (48, 64)  # height, width: even, as video codecs want it


def pictures(n: int, seed: int = 0, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """Frames that no codec and no mix-up of indices leaves equal: smooth, and each of its own colour."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    ramp = np.stack([x * 2, y * 3, (x + y)], axis=2)
    return [((ramp + rng.integers(0, 120, 3)) % 256).astype(np.uint8) for _ in range(n)]


def pose(angle: float) -> list[list[float]]:
    """World to camera: turned by ``angle`` radians about y, a metre away."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    return [[c, 0, s, 0.1], [0, 1, 0, -0.2], [-s, 0, c, 1.0], [0, 0, 0, 1]]


def write_calibration(person: Path, image_size: Sequence[int] | None = (64, 48), **changes: object) -> Path:
    path = person / "calibration" / "camera_params.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content: dict[str, object] = {
        "world_2_cam": {serial: pose(0.3 * i) for i, serial in enumerate(SERIALS)},
        "intrinsics": [[90.0, 0, 30.5], [0, 92.0, 25.25], [0, 0, 1]],
    }
    if image_size is not None:
        content["image_size"] = list(image_size)
    path.write_text(json.dumps(content | changes))
    return path


def write_frames(folder: Path, frames: Mapping[int, np.ndarray]) -> None:
    """Numbered lossless WebP files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in frames.items():
        Image.fromarray(frame).save(folder / f"frame_{number:05d}.webp", lossless=True, exact=True)


def write_videos(root: Path, identity: str, sequence: str, frames: Mapping[str, Sequence[np.ndarray]]) -> Path:
    """One lossless mp4 a camera, and the person's calibration. Returns the person's folder."""
    images = root / identity / "sequences" / sequence / "images"
    images.mkdir(parents=True, exist_ok=True)
    for serial, of_camera in frames.items():
        write_video(images / f"cam_{serial}.mp4", list(of_camera))
    write_calibration(root / identity)
    return root / identity


def write_split(root: Path, faces: Mapping[str, np.ndarray], steps: int = 6, driver: str = "509") -> Path:
    """A folder laid out as the test split: PORTRAIT, FREE and, of all but ``driver``, FREE-AS-``driver``.

    ``faces``: identity -> square picture, which moves a pixel a time step. Camera k holds the steps k, k + 3, ...
    """
    for identity, face in faces.items():
        person = root / identity
        write_calibration(person, image_size=face.shape[1::-1])
        free = [np.roll(face, (0, step), (0, 1)) for step in range(steps)]
        as_driver = [np.roll(face, (step, 0), (0, 1)) for step in range(steps)]
        takes = {"PORTRAIT": {FRONTAL: {0: face}}, "FREE": _in_turn(free if identity != driver else as_driver)}
        if identity != driver:
            takes[f"FREE-AS-{driver}"] = _in_turn(as_driver)
        for sequence, cameras in takes.items():
            for serial, frames in cameras.items():
                here = person / "sequences" / sequence
                write_frames(here / "images" / f"cam_{serial}", frames)
                masks = {n: np.where(f.max(axis=2) > 127, 255, 0).astype(np.uint8) for n, f in frames.items()}
                write_frames(here / "masks" / f"cam_{serial}", masks)
    return root


def _in_turn(frames: Sequence[np.ndarray]) -> dict[str, dict[int, np.ndarray]]:
    return {serial: {n: frames[n] for n in range(k, len(frames), 3)} for k, serial in enumerate(SERIALS)}
