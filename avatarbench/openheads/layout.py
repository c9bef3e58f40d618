"""Where OpenHeads' files lie: NeRSemble v2's layout with masks, exact truth and identities beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatarbench.errors import DataError
from avatarbench.files import leftovers, writing
from avatarbench.method import Camera
from avatarbench.openheads.names import EXPRESSIONS
from avatarbench.openheads.state import HeadState

MANIFEST = "openheads.json"
CACHE = ".frames"
"""Where a sequence keeps its pictures until they are encoded. The leading dot keeps readers away."""


@dataclass(frozen=True)
class Take:
    """One person's performance of one sequence: the folder ``root/{number:03d}/sequences/{name}``."""

    root: Path
    number: int
    name: str

    @property
    def folder(self) -> Path:
        return person(self.root, self.number) / "sequences" / self.name

    @property
    def truth(self) -> Path:
        return self.folder / "truth.npz"

    @property
    def cache(self) -> Path:
        return self.folder / CACHE

    def image_video(self, serial: str) -> Path:
        return self.folder / "images" / f"cam_{serial}.mp4"

    def mask_video(self, serial: str) -> Path:
        return self.folder / "masks" / f"cam_{serial}.mp4"

    def tracking(self, serial: str) -> Path:
        return self.folder / "tracking" / f"cam_{serial}.npz"

    def image_frame(self, serial: str, frame: int) -> Path:
        return self.folder / "images" / f"cam_{serial}" / f"frame_{frame:05d}.webp"

    def mask_frame(self, serial: str, frame: int) -> Path:
        return self.folder / "masks" / f"cam_{serial}" / f"frame_{frame:05d}.webp"

    def cached(self, serial: str, frame: int) -> Path:
        """Picture and mask of one frame as one RGBA PNG."""
        return self.cache / f"cam_{serial}" / f"frame_{frame:05d}.png"


def person(root: Path, number: int) -> Path:
    """The folder of a person."""
    return root / f"{number:03d}"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """``values`` as indented JSON, the same bytes for the same values; there whole or not at all."""
    with writing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(root: Path) -> dict[str, Any] | None:
    """What ``openheads.json`` says, or None where there is none. Raises DataError where it cannot be read."""
    path = root / MANIFEST
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}. Name another folder with --out.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is not OpenHeads' manifest. Name another folder with --out.")
    return found


def write_calibration(root: Path, number: int, cameras: Mapping[str, Camera]) -> None:
    """``calibration/camera_params.json`` as NeRSemble has it, and the ``image_size`` that its intrinsics are for."""
    one = next(iter(cameras.values()))
    write_json(
        person(root, number) / "calibration" / "camera_params.json",
        {
            "world_2_cam": {serial: camera.world_to_camera.tolist() for serial, camera in cameras.items()},
            "intrinsics": one.K.tolist(),
            "image_size": [one.width, one.height],
        },
    )


def write_truth(path: Path, states: Sequence[HeadState], frames: Iterable[int]) -> None:
    """``truth.npz``: expression (T, 52), joints (T, 8, 3) axis-angle radians, translation (T, 3) metres, frames (T,),
    and the names of the columns."""
    from avatarbench.heads.anny import JOINTS  # with torch, which nothing else here needs

    with writing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            expression=np.stack([state.expression for state in states]),
            joints=np.stack([state.joints for state in states]),
            translation=np.stack([state.translation for state in states]),
            frames=np.array(list(frames), np.int64),
            expression_names=np.array(EXPRESSIONS),
            joint_names=np.array(JOINTS),
        )


def sweep(*targets: Path) -> None:
    """Remove what killed writers of ``targets`` left beside them, which nobody else may be writing. Raises OSError."""
    for target in targets:
        for partial in leftovers(target):
            partial.unlink()


def total_bytes(root: Path) -> int:
    """The size of every finished file under ``root``: a leading dot is a lock's, a cache's or an unfinished file's."""
    files = (f for f in root.rglob("*") if f.is_file())
    return sum(f.stat().st_size for f in files if not any(p.startswith(".") for p in f.relative_to(root).parts))
