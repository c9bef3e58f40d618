"""What a fit was made of, by its bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.errors import DataError
from avatarbench.method import Camera


def sha256(path: Path) -> str:
    """Of a file that a fit learns from. Raises DataError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}), and a fit learns from it: copy it again."
        ) from error


def digest(values: Any) -> str:
    """sha256 of plain values, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def of_openheads(data: NersembleDataset, person: str, sequences: Iterable[str]) -> dict[str, dict[str, str]]:
    """``pictures``: of every sequence (of one camera), with its calibration; ``files``: the person's shape, and the
    motion of their recordings. Raises DataError."""
    folder = data.root / person
    names = sorted(set(sequences))
    takes = sorted({name.removeprefix(f"{person}_").rpartition("_")[0] for name in names})
    files = [folder / "identity.json", *(folder / "sequences" / take / "truth.npz" for take in takes)]
    return {
        "pictures": {name: data.digest(name) for name in names},
        "files": {str(path.relative_to(folder)): sha256(path) for path in files},
    }


def of_cameras(cameras: Iterable[Camera]) -> str:
    """sha256 of cameras in their order."""
    found = hashlib.sha256()
    for camera in cameras:
        found.update(camera.K.tobytes() + camera.world_to_camera.tobytes())
        found.update(f"{camera.width} x {camera.height}".encode())
    return found.hexdigest()
