"""FLAME parameters that another program tracked, for frames of a dataset: VHAP, Pixel3DMM, NeRSemble's benchmark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from avatarbench.dataset import Dataset, camera_of, frame_number_of
from avatarbench.datasets.ledger import sha256
from avatarbench.datasets.mattes import own_name
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.nersemble_tracking import FILES, BenchmarkTrack
from avatarbench.errors import DataError
from avatarbench.method import Camera, FlameParameters
from avatarbench.tracking.vhap import VhapExport

Source = Literal["vhap", "pixel3dmm", "dataset"]
Tracked = dict[int, tuple[FlameParameters, Camera]]
NUMBER = re.compile(r"(\d+)$")


def tracking_files(source: Source, folder: Path | None, dataset: Dataset, sequence: str) -> list[Path]:
    """What the tracking of a sequence is read from: an export's or a tracking folder, or a file of the data's own.

    VHAP: ``folder/NAME``, for NeRSemble also ``folder/ID_SEQ...``; Pixel3DMM: ``folder/NAME``. Empty where there is
    none. Raises DataError for several.
    """
    if source == "dataset":
        if not isinstance(dataset, NersembleDataset):
            raise DataError("of these data sets only NeRSemble's benchmark comes with tracking: name another tracker.")
        here = dataset.beside(sequence, "tracking")
        return [
            path
            for name in FILES
            if (path := here / name).is_file() and path.resolve().is_relative_to(dataset.root.resolve())
        ][:1]
    if folder is None or not folder.is_dir():
        raise DataError(f"{folder} is no folder of tracking by {source}: name it with --tracking.")
    names = dict.fromkeys((sequence, own_name(dataset, sequence)))
    found = [folder / name for name in names if (folder / name).is_dir()]
    if not found and source == "vhap":
        take = sequence.rpartition("_")[0]
        found = sorted(p for p in folder.iterdir() if p.is_dir() and (p.name == take or p.name.startswith(f"{take}_")))
    found = [path for path in found if path.resolve().is_relative_to(folder.resolve())]
    if len(found) > 1:
        raise DataError(f"{folder} has {', '.join(p.name for p in found)} of '{sequence}': leave one.")
    return found


def read_tracking(source: Source, path: Path, dataset: Dataset, sequence: str, indices: Sequence[int]) -> Tracked:
    """The parameters and cameras of those ``indices`` that were tracked, cameras in pixels of the whole frames.

    Frames are matched by the number that the frame has (VHAP, the benchmark) or by their order (Pixel3DMM, which
    numbers them itself). Raises DataError naming file and key.
    """
    if not indices:
        return {}
    height, width = dataset.read(sequence, indices[0]).shape[:2]
    numbers = {frame_number_of(dataset, sequence, index): index for index in indices}
    found: Tracked = {}
    if source == "dataset":
        camera, track = camera_of(dataset, sequence), BenchmarkTrack(path)
        if camera is None:
            raise DataError(f"'{sequence}' has no camera, which its tracking is told by.")
        rows = {numbers[step]: track.frame(row, camera) for row, step in enumerate(track.steps) if step in numbers}
        return dict(sorted(rows.items()))
    if source == "pixel3dmm":
        from avatarbench.tracking.pixel3dmm import Pixel3dmmFrames, read_frame  # with torch

        for file in Pixel3dmmFrames(path).paths:
            if int(file.stem) in indices:
                found[int(file.stem)] = read_frame(file)
    else:
        export, serial = VhapExport(path), sequence.rpartition("_")[2]
        several = len({str(frame.get("camera_id")) for frame in export.frames}) > 1
        for row, frame in enumerate(export.frames):
            step = _step(frame)
            index = None if step is None else numbers.get(step)
            if index is not None and (not several or str(frame.get("camera_id")) == serial):
                found[index] = export[row]
    return {index: (flame, _sized(camera, width, height, path)) for index, (flame, camera) in sorted(found.items())}


def digest_of(paths: Sequence[Path]) -> str:
    """sha256 of the tracking's files, or of every file below its folder. Raises OSError."""
    files = [
        f for path in paths for f in ([path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()))
    ]
    return "\n".join(f"{file.name} {sha256(file)}" for file in files)


def _step(frame: Mapping[str, Any]) -> int | None:
    """The frame's number: what ends ``timestep_id``, VHAP's name for the picture, or its own count."""
    named = NUMBER.search(str(frame.get("timestep_id", "")))
    if named:
        return int(named[1])
    for key in ("timestep_index_original", "timestep_index"):
        if isinstance(frame.get(key), int):
            return int(frame[key])
    return None


def _sized(camera: Camera, width: int, height: int, path: Path) -> Camera:
    if abs(width * camera.height - height * camera.width) > max(width, height):
        raise DataError(
            f"{path} tracks pictures of {camera.width} x {camera.height}, and the data has {width} x {height}: another "
            "shape. Track whole frames."
        )
    scale = np.diag([width / camera.width, height / camera.height, 1.0])
    return Camera(scale @ camera.K, camera.world_to_camera, width, height)
