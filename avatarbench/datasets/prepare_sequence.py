"""Prepare one sequence: the frames that the protocols draw, under their image contract, masks, camera and tracking.

Pictures come through the same code as in a run, so that a run on the prepared folder sees the same pixels.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarbench import registry
from avatarbench.dataset import Dataset, camera_of, frame_number_of, identity_of
from avatarbench.datasets.crop import Crop, crop_camera
from avatarbench.datasets.images import write_png
from avatarbench.datasets.imported_tracking import Source, digest_of, read_tracking, tracking_files
from avatarbench.datasets.mattes import Matted
from avatarbench.datasets.prepared import FORMAT, SEQUENCE, files_digest, read_json
from avatarbench.errors import DataError, Unscorable
from avatarbench.files import writing
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.protocol import FrameRef, ImageContract
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal

if TYPE_CHECKING:
    from avatarbench.metrics.face import FaceLandmarker


@dataclass(frozen=True)
class Origin:
    """Where frames come from: the data set ``name`` in ``root``, ``mattes`` and imported ``tracking`` beside it."""

    name: str
    root: Path
    mattes: Path | None = None
    tracker: Source | None = None
    tracking: Path | None = None

    def open(self) -> Dataset:
        """The reader of the original. Raises DataError for a folder that is prepared itself."""
        data = registry.load(registry.dataset(self.name).factory)(self.root)
        if hasattr(data, "square"):
            raise DataError(f"{self.root} is prepared already: name the original folder with --root.")
        return data if self.mattes is None else Matted(data, self.mattes)


@dataclass(frozen=True)
class Job:
    """``frames``: the indices wanted of ``sequence``, ascending; ``digest``: its own; ``out``: the prepared folder."""

    origin: Origin
    sequence: str
    frames: tuple[int, ...]
    digest: str
    contract: ImageContract
    out: Path

    @property
    def folder(self) -> Path:
        return self.out / "sequences" / self.sequence


@dataclass(frozen=True)
class Outcome:
    """``made``: whether anything was done, or all was there; ``notes``: what a user should know."""

    sequence: str
    frames: int
    made: bool
    notes: tuple[str, ...] = ()
    failure: str | None = None


def prepare_sequence(
    job: Job, data: Dataset, engine: FeatureEngine, go_on: Callable[[], None] = lambda: None
) -> Outcome:
    """Write ``sequences/NAME/``; its ``sequence.json`` comes last, and says that the rest is whole.

    ``go_on`` is called before each frame and may raise. Raises DataError for data that cannot be used, OSError where
    nothing can be written.
    """
    original = data.dataset if isinstance(data, Matted) else data
    source, files = job.origin.tracker, []
    if source is not None:
        files = tracking_files(source, job.origin.tracking, original, job.sequence)
    recipe = _recipe(job, digest_of(files))
    path = job.folder / SEQUENCE
    if path.is_file():
        there = read_json(path)
        if there.get("recipe") == recipe and there.get("files") == files_digest(job.folder):
            return Outcome(job.sequence, len(job.frames), False)
    if job.folder.exists():
        shutil.rmtree(job.folder)
    record: dict[str, Any] = _about(job, data) | {"recipe": recipe}
    notes: list[str] = []
    with TemporaryDirectory() as place, Journal(Path(place) / "journal.jsonl") as journal:
        inputs = Inputs({job.origin.name: data}, job.contract, engine, journal)
        refs = [FrameRef(job.origin.name, job.sequence, index, job.digest) for index in job.frames]
        try:
            crop = inputs.crop(refs[0])
        except Unscorable as error:
            record |= {"crop": {"missing": str(error)}, "frames": [], "masks": False, "camera": None}
            notes.append(str(error))
        else:
            record |= {"crop": crop.to_dict(), "frames": list(job.frames), "camera": _camera(data, job, crop)}
            record["masks"] = _frames(job, inputs, refs, engine, go_on)
            if source is not None:
                notes += _flame(job, original, source, files, crop)
        record["files"] = files_digest(job.folder)
        record["notes"] = [note.removeprefix(f"{job.sequence}: ") for note in inputs.notes()]
    with writing(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return Outcome(job.sequence, len(job.frames), True, tuple(notes))


def _frames(
    job: Job, inputs: Inputs, refs: Sequence[FrameRef], engine: FeatureEngine, go_on: Callable[[], None]
) -> bool:
    """Write pictures, masks and ``track.npz``; whether there are masks."""
    from avatarbench.tracking.landmarks import track_frames

    masked: list[bool] = []

    def written() -> Iterator[NDArray[np.uint8]]:
        for ref in refs:
            go_on()
            image, mask = inputs.image(ref), inputs.mask(ref)
            write_png(job.folder / "frames" / f"{ref.index:06d}.png", image)
            masked.append(mask is not None)
            if mask is not None:
                with writing(job.folder / "masks" / f"{ref.index:06d}.png") as temporary:
                    Image.fromarray(np.rint(mask * 255).astype(np.uint8)).save(temporary, "PNG")
            yield image

    track_frames(written(), landmarker=cast("FaceLandmarker", _Reading(engine))).save(job.folder / "track.npz")
    if any(masked) != all(masked):
        raise DataError(
            f"'{job.sequence}' has masks of {sum(masked)} of its {len(masked)} frames: mattes of all or none."
        )
    return all(masked)


class _Reading:
    """The landmarker behind the engine's cache, which a run on these frames reads again."""

    def __init__(self, engine: FeatureEngine) -> None:
        self._engine = engine

    def extract(self, frames: Sequence[Frame]) -> list[Features | Missing]:
        self._engine.extract(frames, {"face": False})
        return [found for frame in frames if (found := frame.get("face")) is not None]


def _flame(job: Job, data: Dataset, source: Source, files: Sequence[Path], crop: Crop) -> list[str]:
    """Write ``flame.npz`` where there is tracking; notes on what is not tracked."""
    found = read_tracking(source, files[0], data, job.sequence, job.frames) if files else {}
    if not found:
        return [f"no tracking by {source}"]
    flames = [flame for flame, _ in found.values()]
    cameras = [crop_camera(camera, crop, job.contract.size) for _, camera in found.values()]
    arrays: dict[str, Any] = {
        key: np.stack([getattr(flame, key) for flame in flames])
        for key in ("expr", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation")
    }
    if flames[0].static_offset is not None:
        arrays["static_offset"] = flames[0].static_offset
    with writing(job.folder / "flame.npz") as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            indices=np.array(list(found), np.int64),
            shape=flames[0].shape,
            K=np.stack([camera.K for camera in cameras]),
            world_to_camera=np.stack([camera.world_to_camera for camera in cameras]),
            **arrays,
        )
    lacking = len(job.frames) - len(found)
    return [f"{lacking} of {len(job.frames)} frames are not tracked by {source}"] if lacking else []


def _about(job: Job, data: Dataset) -> dict[str, Any]:
    count = data.length(job.sequence)
    numbers = [frame_number_of(data, job.sequence, index) for index in range(count)]
    height, width = data.read(job.sequence, job.frames[0]).shape[:2]
    return {
        "identity": identity_of(data, job.sequence),
        "digest": job.digest,
        "length": count,
        "numbers": [] if numbers == list(range(count)) else numbers,
        "size": [width, height],
    }


def _camera(data: Dataset, job: Job, crop: Crop) -> dict[str, Any] | None:
    camera = camera_of(data, job.sequence)
    if camera is None:
        return None
    squared = crop_camera(camera, crop, job.contract.size)
    return {"K": squared.K.tolist(), "world_to_camera": squared.world_to_camera.tolist()}


def _recipe(job: Job, tracking: str) -> str:
    """sha256 over all that the result depends on, no path among it."""
    parts = {
        "format": FORMAT,
        "digest": job.digest,
        "frames": job.frames,
        "image": asdict(job.contract),
        "tracker": job.origin.tracker,
        "tracking": tracking,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
