"""The training split: people, sequences and cameras of a seed, rendered and encoded, in as many goes as it takes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from avatarbench.errors import UsageError
from avatarbench.method import Camera
from avatarbench.openheads import crew
from avatarbench.openheads.cameras import SERIALS, rig_cameras
from avatarbench.openheads.identity import Identity, draw
from avatarbench.openheads.layout import MANIFEST, Take, person, sweep, write_calibration, write_json, write_truth
from avatarbench.openheads.manifest import describe, hash_json, scene, settle
from avatarbench.openheads.sequences import NAMES, sequence
from avatarbench.openheads.state import HeadState
from avatarbench.openheads.worker import Job, Moment, Reel, Shot

SPLIT = "train"
TEST_NUMBERS = range(501, 1000)
"""Numbers kept free for people of the test split."""

SAMPLES_STEP = 4
"""A pixel is rendered as 2 x 2 quarters (``studio.SCALE``, whose module is heavy), each with as many samples."""

Progress = Callable[[int, int], None]
"""Called with the pictures done so far and all there will be."""


@dataclass(frozen=True)
class Request:
    """What to generate. ``frames``: of every sequence; ``cameras``: serials; ``size``: side in pixels."""

    out: Path
    identities: int
    seed: int = 0
    size: int = 256
    samples: int = 32
    sequences: tuple[str, ...] = ("FREE",)
    cameras: tuple[str, ...] = SERIALS
    frames: int = 50
    fps: float = 25.0
    tracking: bool = True

    def check(self) -> None:
        """Raises UsageError for a value that cannot be, naming it."""
        for name, least in (("identities", 1), ("seed", 0), ("size", 16), ("samples", 4), ("frames", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} is {getattr(self, name)}: give {least} or more.")
        if over := self.samples % SAMPLES_STEP:
            below = self.samples - over
            raise UsageError(
                f"--samples is {self.samples}: give a multiple of {SAMPLES_STEP}, {below} or {below + SAMPLES_STEP}."
            )
        if not 0 < self.fps <= 240:
            raise UsageError(f"--fps is {self.fps:g}: give a number above 0, at most 240.")
        for option, given, known in (("sequences", self.sequences, NAMES), ("cameras", self.cameras, SERIALS)):
            unknown = [one for one in given if one not in known]
            if unknown or not given:
                raise UsageError(f"--{option}: no '{', '.join(unknown)}' in OpenHeads; it has {', '.join(known)}.")

    @property
    def pictures(self) -> int:
        return self.identities * len(self.sequences) * len(self.cameras) * self.frames


@dataclass
class _Open:
    """A take that is being worked on: the moments and reels that are still to come back."""

    take: Take
    moments: int
    reels: list[Reel]
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.reels)


def number_of(index: int) -> int:
    """The number of the ``index``-th person, from 1, leaving out :data:`TEST_NUMBERS`."""
    number = index + 1
    return number if number < TEST_NUMBERS.start else number + len(TEST_NUMBERS)


def index_of(number: int) -> int:
    """The inverse of :func:`number_of`."""
    return number - 1 if number < TEST_NUMBERS.start else number - 1 - len(TEST_NUMBERS)


def generate(request: Request, workers: int = 2, progress: Progress = lambda done, total: None) -> int:
    """Make what is missing of ``request``; how many pictures were rendered.

    Whatever stops it, the same call goes on from there. Raises UsageError where the folder holds other data or is in
    use, DataError where it cannot be written or a worker dies.
    """
    request.check()
    require_renderer()
    with exclusively(request.out):
        cameras = rig_cameras(request.size)
        people = {number_of(index): draw(request.seed, index, SPLIT) for index in range(request.identities)}
        settle(request.out, *_manifest(request, cameras, people))
        return _Generation(request, cameras, people, progress).run(workers)


class _Generation:
    def __init__(
        self, request: Request, cameras: dict[str, Camera], people: dict[int, Identity], progress: Progress
    ) -> None:
        self._request, self._cameras, self._people, self._progress = request, cameras, people, progress
        self._open: dict[str, _Open] = {}
        self._of_reel: dict[Path, _Open] = {}
        self._rendered = 0
        self._done = sum(self._missing(take)[1] for take in self._takes())

    def run(self, workers: int) -> int:
        self._progress(self._done, self._request.pictures)
        crew.run(self._jobs(), workers, self._then)
        return self._rendered

    def _takes(self) -> Iterator[Take]:
        return (Take(self._request.out, number, name) for number in self._people for name in self._request.sequences)

    def _reels(self, take: Take) -> dict[str, Reel]:
        r = self._request
        return {
            serial: Reel(
                frames=tuple(take.cached(serial, frame) for frame in range(r.frames)),
                image=take.image_video(serial),
                mask=take.mask_video(serial),
                tracking=take.tracking(serial) if r.tracking else None,
                fps=r.fps,
            )
            for serial in r.cameras
        }

    def _missing(self, take: Take) -> tuple[dict[int, list[str]], int]:
        """By frame, the cameras whose picture is still to be rendered; and how many pictures are not."""
        missing: dict[int, list[str]] = {}
        done = 0
        for serial, reel in self._reels(take).items():
            for frame, file in enumerate(reel.frames):
                if reel.rendered or file.exists():
                    done += 1
                else:
                    missing.setdefault(frame, []).append(serial)
        return dict(sorted(missing.items())), done

    def _jobs(self) -> Iterator[Job]:
        """Person by person, so that a worker prepares each one once."""
        for take in self._takes():
            reels = [reel for reel in self._reels(take).values() if not reel.done]
            missing, _ = self._missing(take)
            states = _states(self._request, take)
            self._describe(take, states)
            if not reels:
                shutil.rmtree(take.cache, ignore_errors=True)
                continue
            work = _Open(take, len(missing), reels)
            self._open[_key(take)] = work
            self._of_reel.update((reel.image, work) for reel in reels)
            if not missing:
                yield from reels
            for frame, serials in missing.items():
                shots = tuple(Shot(self._cameras[serial], take.cached(serial, frame)) for serial in serials)
                identity = self._people[take.number]
                key = f"{self._request.seed}/{_key(take)}/{frame}"
                yield Moment(identity, states[frame], shots, self._request.samples, key)

    def _then(self, job: Job, rendered: int) -> Iterable[Job]:
        if isinstance(job, Moment):
            self._rendered += rendered
            self._done += rendered
            self._progress(self._done, self._request.pictures)
            work = self._open[job.key.split("/", 1)[1].rsplit("/", 1)[0]]
            work.moments -= 1
            return () if work.moments else work.reels
        work = self._of_reel.pop(job.image)
        work.left -= 1
        if not work.left:
            shutil.rmtree(work.take.cache, ignore_errors=True)  # a leftover is removed by the next call
            del self._open[_key(work.take)]
        return ()

    def _describe(self, take: Take, states: Sequence[HeadState]) -> None:
        """What is known of a person and a take without rendering; written once."""
        folder = person(take.root, take.number)
        sweep(folder / "identity.json", folder / "calibration" / "camera_params.json", take.truth)
        if not (folder / "identity.json").exists():
            write_json(folder / "identity.json", self._people[take.number].to_json())
        if not (folder / "calibration" / "camera_params.json").exists():
            write_calibration(take.root, take.number, self._cameras)
        if not take.truth.exists():
            write_truth(take.truth, states, range(len(states)))


def _states(request: Request, take: Take) -> list[HeadState]:
    return sequence(take.name, request.seed, index_of(take.number), request.frames, request.fps, SPLIT)


def _key(take: Take) -> str:
    return f"{take.number:03d}/{take.name}"


def _manifest(
    request: Request, cameras: dict[str, Camera], people: dict[int, Identity]
) -> tuple[dict[str, object], dict[str, dict[str, object]]]:
    fixed = describe(
        SPLIT,
        request.seed,
        request.size,
        request.samples,
        request.fps,
        rig_hash(cameras),
        {"frames": request.frames},
    )
    scenes = {}
    for number, identity in people.items():
        takes = {name: _states(request, Take(request.out, number, name)) for name in request.sequences}
        scenes[f"{number:03d}"] = scene(identity, takes)
    return fixed, scenes


def rig_hash(cameras: dict[str, Camera]) -> str:
    """sha256 over every camera's numbers."""
    return hash_json({s: [c.K.tolist(), c.world_to_camera.tolist(), c.width, c.height] for s, c in cameras.items()})


def require_renderer() -> None:
    """Raises UsageError where Mitsuba is not installed."""
    if find_spec("mitsuba") is None:
        raise UsageError("OpenHeads is rendered by Mitsuba, which is not installed: pip install 'avatarbench[data]'.")


@contextmanager
def exclusively(out: Path) -> Iterator[None]:
    """Nobody else generates into ``out`` meanwhile. Raises UsageError where somebody does, or it is a file."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder with --out.")
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / f".{MANIFEST}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another process is generating into {out}: wait for it, or name another folder.") from None
    try:
        sweep(out / MANIFEST)
        yield
    finally:
        lock.release()
