"""The work of one process: render pictures of one moment, and turn finished pictures into videos and tracking."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.method import Camera
from avatarbench.openheads.encode import Encoder
from avatarbench.openheads.identity import Identity
from avatarbench.openheads.layout import sweep
from avatarbench.openheads.state import HeadState

if TYPE_CHECKING:
    from avatarbench.metrics.face import FaceLandmarker
    from avatarbench.openheads.studio import Studio


class Stop(Protocol):
    """An event that is set when no further picture is wanted."""

    def is_set(self) -> bool: ...


@dataclass(frozen=True)
class Shot:
    """One camera's picture. ``mask`` is its own file, or None where picture and mask are one RGBA file."""

    camera: Camera
    image: Path
    mask: Path | None = None

    @property
    def done(self) -> bool:
        return self.image.exists() and (self.mask is None or self.mask.exists())


@dataclass(frozen=True)
class Moment:
    """A person in one state, seen by several cameras; ``key`` names it, and with the camera seeds the noise."""

    identity: Identity
    state: HeadState
    shots: tuple[Shot, ...]
    samples: int
    key: str


@dataclass(frozen=True)
class Reel:
    """One camera's view of a whole sequence: ``frames`` are the cached pictures, all there unless ``image`` and
    ``mask`` are; ``tracking`` is None where none is wanted."""

    frames: tuple[Path, ...]
    image: Path
    mask: Path
    tracking: Path | None
    fps: float

    @property
    def rendered(self) -> bool:
        """Whether the videos are there."""
        return self.image.exists() and self.mask.exists()

    @property
    def done(self) -> bool:
        return self.rendered and (self.tracking is None or self.tracking.exists())


Job = Moment | Reel


def noise_seed(moment: Moment, shot: Shot) -> int:
    """Of a picture's sampling noise: another one for every frame and camera, the same in every run."""
    return zlib.crc32(f"{moment.key}/{shot.image.parent.name}".encode()) % 2**31


class Worker:
    """Keeps the studio of the last person, which takes seconds to set up, and the landmarker."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._identity: Identity | None = None
        self._studio: Studio | None = None
        self._landmarker: FaceLandmarker | None = None

    def do(self, job: Job) -> int:
        """How many pictures were rendered for a moment, or 0. Raises DataError where a file cannot be written."""
        try:
            return self.render(job) if isinstance(job, Moment) else self.finish(job)
        except OSError as error:  # PyAV's own errors are OSErrors too, and cannot go through a pipe
            name = error.filename or (job.image if isinstance(job, Reel) else job.shots[0].image.parent)
            raise DataError(
                f"{name} cannot be read or written: {error.strerror or error}. What is finished is kept: once there is "
                "room, the same command goes on from here."
            ) from None

    def render(self, moment: Moment) -> int:
        """Render the shots that are not there yet, until told to stop; the number rendered."""
        count = 0
        for shot in moment.shots:
            if shot.done:
                continue
            if self._stop.is_set():
                break
            seed = noise_seed(moment, shot)
            picture = self._of(moment.identity).render(moment.state, shot.camera, moment.samples, seed)
            _write(shot, picture.rgb, np.rint(picture.mask * 255).astype(np.uint8))
            count += 1
        return count

    def finish(self, reel: Reel) -> int:
        """Encode what is not encoded yet, track it if wanted, and drop the cached pictures. Always 0."""
        if self._stop.is_set():
            return 0
        sweep(reel.image, reel.mask, *([reel.tracking] if reel.tracking else []))
        if not reel.image.exists():
            self._encode(reel, reel.image, slice(3))
        if not reel.mask.exists():
            self._encode(reel, reel.mask, slice(3, 4))
        if reel.tracking is not None and not reel.tracking.exists():
            self._track(reel, reel.tracking)
        shutil.rmtree(reel.frames[0].parent, ignore_errors=True)  # what is left is removed with its whole cache
        return 0

    def close(self) -> None:
        if self._landmarker is not None:
            self._landmarker.close()
        self._landmarker, self._studio, self._identity = None, None, None

    def _of(self, identity: Identity) -> Studio:
        if self._studio is None or self._identity != identity:
            from avatarbench.openheads.studio import Studio

            self._studio = None  # one at a time: a studio holds textures and hair
            self._studio, self._identity = Studio(identity), identity
        return self._studio

    def _encode(self, reel: Reel, target: Path, channels: slice) -> None:
        with writing(target) as temporary, Encoder(temporary, reel.fps) as encoder:
            for file in reel.frames:
                encoder.add(_read(file)[..., channels])

    def _track(self, reel: Reel, target: Path) -> None:
        from avatarbench.metrics.face import FaceLandmarker
        from avatarbench.tracking.landmarks import track_frames

        if self._landmarker is None:
            self._landmarker = FaceLandmarker()
        track_frames(_images(reel.image), reel.fps, self._landmarker).save(target)


def _images(video: Path) -> Iterator[NDArray[np.uint8]]:
    from avatarbench.datasets.video import Video

    reader = Video(video)
    try:
        for index in range(len(reader)):
            yield reader.read(index)
    finally:
        reader.close()


def _write(shot: Shot, rgb: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    if shot.mask is None:
        with writing(shot.image) as temporary:
            Image.fromarray(np.dstack([rgb, mask])).save(temporary, "PNG", compress_level=1)
        return
    for target, pixels in ((shot.mask, mask), (shot.image, rgb)):
        with writing(target) as temporary:
            Image.fromarray(pixels).save(temporary, "WEBP", lossless=True, method=6, quality=100)


def _read(file: Path) -> NDArray[np.uint8]:
    with Image.open(file) as image:
        return np.asarray(image)
