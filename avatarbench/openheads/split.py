"""The test split that ships with the package: nine people, their motion, and eight of them under the ninth's motion.

:func:`make_split` renders it, and other still pictures of a split's people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from avatarbench.openheads import crew
from avatarbench.openheads.cameras import FRONTAL, rig_cameras, target_cameras
from avatarbench.openheads.generate import Progress, exclusively, require_renderer, rig_hash
from avatarbench.openheads.identity import Identity, draw
from avatarbench.openheads.layout import Take, person, sweep, total_bytes, write_calibration, write_json, write_truth
from avatarbench.openheads.manifest import describe, scene, settle
from avatarbench.openheads.sequences import sequence
from avatarbench.openheads.state import HeadState
from avatarbench.openheads.worker import Job, Moment, Shot

SPLIT = "test"
SEED = 21
"""The first one whose driver has closed eyes in at most one of the 24 steps, and spans 48 degrees of yaw and 24 of
pitch, with 32 actions above 0.3."""

DRIVER = 509
"""Whose motion drives everybody in cross-reenactment."""
NUMBERS: tuple[int, ...] = tuple(range(501, 510))
STRIDE = 15
"""Frames of 25 a second between two time steps: 24 steps span the variety of 14 seconds."""
FPS = 25.0


@dataclass(frozen=True)
class Part:
    """One sequence: its ``states``, and the camera and frame number of each."""

    name: str
    states: Sequence[HeadState]
    views: Sequence[tuple[str, int]]


class Plan(Protocol):
    """What is rendered of a split's people. ``samples``: light paths a pixel."""

    @property
    def split(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def numbers(self) -> tuple[int, ...]: ...

    @property
    def size(self) -> int: ...

    @property
    def samples(self) -> int: ...

    def identity(self, number: int) -> Identity: ...

    def parts(self, number: int) -> list[Part]:
        """The sequences of a person, each frame of one in all its cameras together."""
        ...

    def described(self) -> dict[str, Any]:
        """What else makes these pictures and no others, for the manifest."""
        ...


@dataclass(frozen=True)
class SplitPlan:
    """What is rendered; the defaults are the shipped split. ``steps``: time steps of FREE; ``samples`` a pixel."""

    numbers: tuple[int, ...] = NUMBERS
    size: int = 256
    samples: int = 24
    steps: int = 24
    targets: int = 3
    split: str = SPLIT
    seed: int = SEED

    def identity(self, number: int) -> Identity:
        return draw(self.seed, number, self.split)

    def frames(self) -> range:
        """Frame numbers of FREE."""
        return range(0, self.steps * STRIDE, STRIDE)

    def motion(self, number: int) -> list[HeadState]:
        """The states of a person's FREE at :meth:`frames`."""
        return sequence("FREE", SEED, number, self.frames()[-1] + 1, FPS, SPLIT)[::STRIDE]

    def views(self, number: int) -> list[tuple[str, int]]:
        """The camera of every time step of a person's FREE, with the frame's number: the target cameras in turn."""
        serials = target_cameras(SEED, number, self.targets)
        return [(serials[step % len(serials)], frame) for step, frame in enumerate(self.frames())]

    def parts(self, number: int) -> list[Part]:
        """PORTRAIT, FREE, and FREE under the driver's motion."""
        found = [
            Part("PORTRAIT", sequence("PORTRAIT", SEED, number, 1, FPS, SPLIT), [(FRONTAL, 0)]),
            Part("FREE", self.motion(number), self.views(number)),
        ]
        if number != DRIVER:
            found.append(Part(f"FREE-AS-{DRIVER}", self.motion(DRIVER), self.views(DRIVER)))
        return found

    def described(self) -> dict[str, Any]:
        return {"driver": DRIVER, "steps": self.steps, "stride": STRIDE, "target_cameras": self.targets}


def make_split(
    out: Path,
    workers: int = 2,
    progress: Progress = lambda done, total: None,
    split: Plan = SplitPlan(),
) -> int:
    """Render what is missing of the split, or of another plan, into ``out``; the size of all its files in bytes.

    Pictures and masks are lossless WebP. Raises UsageError where the folder holds other data or is in use, DataError
    where it cannot be written or a worker dies.
    """
    require_renderer()
    cameras = rig_cameras(split.size)
    with exclusively(out):
        fixed = describe(
            split.split,
            split.seed,
            split.size,
            split.samples,
            FPS,
            rig_hash(cameras),
            split.described(),
        )
        parts = {number: split.parts(number) for number in split.numbers}
        scenes = {
            f"{number:03d}": scene(split.identity(number), {part.name: part.states for part in parts[number]})
            for number in split.numbers
        }
        settle(out, fixed, scenes)
        total = sum(len(part.views) for one in parts.values() for part in one)
        jobs = list(_jobs(out, split, parts))
        done = total - sum(len(job.shots) for job in jobs)
        progress(done, total)

        def then(job: Job, rendered: int) -> Iterable[Job]:
            nonlocal done
            done += rendered
            progress(done, total)
            return ()

        crew.run(jobs, workers, then)
        return total_bytes(out)


def _jobs(out: Path, split: Plan, parts: dict[int, list[Part]]) -> Iterator[Moment]:
    """Person by person, so that a worker prepares each one once. Writes what needs no rendering on the way, and removes
    what a killed process left of any file."""
    cameras = rig_cameras(split.size)
    for number, of_person in parts.items():
        identity = split.identity(number)
        folder = person(out, number)
        sweep(folder / "identity.json", folder / "calibration" / "camera_params.json")
        write_json(folder / "identity.json", identity.to_json())
        write_calibration(out, number, cameras)
        for part in of_person:
            take = Take(out, number, part.name)
            sweep(take.truth)
            truth = {frame: state for state, (_, frame) in zip(part.states, part.views, strict=True)}
            write_truth(take.truth, list(truth.values()), truth)
            pairs = zip(part.states, part.views, strict=True)
            for frame, moment in groupby(pairs, key=lambda pair: pair[1][1]):
                views = list(moment)
                shots = [
                    Shot(cameras[serial], take.image_frame(serial, frame), take.mask_frame(serial, frame))
                    for _, (serial, _) in views
                ]
                for shot in shots:
                    sweep(shot.image, *([shot.mask] if shot.mask else []))
                missing = tuple(shot for shot in shots if not shot.done)
                if missing:
                    yield Moment(
                        identity, views[0][0], missing, split.samples, f"{split.seed}/{number}/{part.name}/{frame}"
                    )
