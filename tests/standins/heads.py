"""Portraits and drivers for the stand-ins of heads: pictures of a known mean colour, FLAME parameters, a camera."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from avatarbench import registry
from avatarbench.isolation.official import OfficialMethod
from avatarbench.method import Camera, FlameParameters, Motion, Portrait, Site
from tests.standins.common import checkout, python

SIZE = 512


def trapped(name: str, folder: Path, trap: str = "") -> Path:
    """A copy of the stand-in ``name``; ``trap``: how it is to fail."""
    place = checkout(name, folder)
    if trap:
        (place / "TRAP").write_text(trap)
    return place


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a checkout, less what Python compiled."""
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@contextmanager
def opened(name: str, repo: Path, weights: Path, work: Path, **options: Any) -> Iterator[OfficialMethod]:
    """The method on the checkout ``repo``, in the environment of the stand-ins, working in ``work``."""
    method = registry.load(registry.method(name).factory)(
        repo=str(repo), weights=str(weights), python=python(), **options
    )
    method.open(Site(work, note=lambda text: None, restarted=lambda why: None, say=lambda text: None))
    try:
        yield method
    finally:
        method.close()


def picture(colour: tuple[float, float, float], seed: int = 0) -> np.ndarray:
    """(512, 512, 3) uint8 noise about ``colour``, which a stand-in's tracker takes for a face."""
    noise = np.random.default_rng(seed).normal(0, 12, (SIZE, SIZE, 1))
    return np.clip(np.round(np.asarray(colour) + noise), 0, 255).astype(np.uint8)


def faceless() -> np.ndarray:
    """A picture that a stand-in's tracker finds no face in."""
    return np.full((SIZE, SIZE, 3), 90, np.uint8)


def portrait(colour: tuple[float, float, float] = (150, 100, 60), name: str = "source") -> Portrait:
    return Portrait(id=name, image=picture(colour))


def camera(cx: float = 290.0, cy: float = 240.0) -> Camera:
    """A camera in front of a head at the origin, turned a little, its principal point off the middle as a crop's is."""
    angle = 0.2
    pose = np.eye(4)
    pose[:3, :3] = np.array([[np.cos(angle), 0, np.sin(angle)], [0, -1, 0], [np.sin(angle), 0, -np.cos(angle)]])
    pose[:3, 3] = 0.01, -0.02, 1.2
    return Camera(np.array([[1500.0, 0, cx], [0, 1500.0, cy], [0, 0, 1]]), pose, SIZE, SIZE)


def flame(index: int) -> FlameParameters:
    """Parameters that differ a frame: ``expr[0]``, ``jaw_pose[0]`` and the place of the head."""
    zero = {name: np.zeros(n, np.float32) for name, n in (("rotation", 3), ("neck_pose", 3), ("eyes_pose", 6))}
    expr, jaw, shape = np.zeros(100, np.float32), np.zeros(3, np.float32), np.zeros(300, np.float32)
    expr[0], jaw[0], shape[0] = 0.2 + 0.3 * index, 0.1 * index, 0.7
    place = np.array([0.02 + 0.02 * index, 0.03 - 0.01 * index, 0.01], np.float32)
    return FlameParameters(shape=shape, expr=expr, jaw_pose=jaw, translation=place, **zero)


def motion(index: int, colour: tuple[float, float, float] = (60, 120, 200), **changes: Any) -> Motion:
    made = {"image": picture(colour, index + 1), "flame": flame(index), "camera": camera(), **changes}
    return Motion(id=f"driver/{index:06d}", index=index, **made)
