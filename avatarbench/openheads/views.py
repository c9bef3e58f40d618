"""What people are fitted on: moments from many cameras. Of the test split's people none is a protocol's target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from avatarbench.openheads.cameras import FRONTAL, SERIALS, spread
from avatarbench.openheads.generate import SPLIT as TRAINING
from avatarbench.openheads.generate import index_of, number_of
from avatarbench.openheads.identity import Identity, draw
from avatarbench.openheads.sequences import sequence
from avatarbench.openheads.split import FPS, NUMBERS, SEED, SPLIT, Part, Plan
from avatarbench.openheads.tracks import Draw

MOMENTS: Mapping[str, tuple[int, ...]] = {
    "EXP-1-head": (0, 20, 60),
    "EXP-2-eyes": (60, 120),
    "EMO-1-shout+laugh": (20, 70),
    "EMO-2-surprise+fear": (20,),
}
"""Frames, at 25 a second: rest, turned to either side, eyes down, a blink, a shout, a laugh, surprise."""

HELD_MOMENTS: Mapping[str, tuple[int, ...]] = {"EMO-4-disgust+happy": (20, 80), "EXP-5-mouth": (140,)}
"""Frames that a fit does not see: disgust, a smile, a pucker."""

CAMERAS: tuple[str, ...] = spread(8)
HELD_CAMERAS: tuple[str, ...] = ("222200048", "222200049")
"""Cameras that a fit does not see: 17 degrees to the right, and 26 to the left from above."""


@dataclass(frozen=True)
class ViewsPlan:
    """Every moment of :data:`MOMENTS` from every camera, held-out ones too, and the held-out moments from these and
    the frontal one."""

    numbers: tuple[int, ...] = NUMBERS
    size: int = 256
    samples: int = 16
    moments: Mapping[str, Sequence[int]] = field(default_factory=lambda: MOMENTS)
    held_moments: Mapping[str, Sequence[int]] = field(default_factory=lambda: HELD_MOMENTS)
    cameras: tuple[str, ...] = CAMERAS
    held_cameras: tuple[str, ...] = HELD_CAMERAS
    split: str = SPLIT
    seed: int = SEED

    def identity(self, number: int) -> Identity:
        return draw(self.seed, number, self.split)

    def parts(self, number: int) -> list[Part]:
        everything = (*self.cameras, *self.held_cameras)
        few = (FRONTAL, *self.held_cameras)
        return [
            *(_part(self, number, take, frames, everything) for take, frames in self.moments.items()),
            *(_part(self, number, take, frames, few) for take, frames in self.held_moments.items()),
        ]

    def described(self) -> dict[str, Any]:
        return {
            "moments": {take: list(frames) for take, frames in self.moments.items()},
            "held_moments": {take: list(frames) for take, frames in self.held_moments.items()},
            "cameras": list(self.cameras),
            "held_cameras": list(self.held_cameras),
        }


TRAINING_MOMENTS: tuple[tuple[str, int], ...] = (
    *(("EXP-1-head", frame) for frame in (20, 40, 60, 80)),
    *(("EXP-2-eyes", frame) for frame in (60, 120)),
    *(("EMO-1-shout+laugh", frame) for frame in (20, 70)),
    *(("EMO-2-surprise+fear", frame) for frame in (20, 70)),
    *(("EMO-4-disgust+happy", frame) for frame in (20, 80)),
    ("EXP-5-mouth", 140),
)
"""Takes and frames that a training person's moments are drawn from."""


@dataclass(frozen=True)
class TrainingPlan:
    """What ``people`` of the training split are fitted on: the portrait's moment from :data:`CAMERAS`, and ``moments``
    more, drawn for each person, from the frontal camera and ``cameras`` - 1 drawn ones."""

    people: int
    seed: int = 0
    size: int = 256
    samples: int = 16
    moments: int = 3
    cameras: int = 6
    split: str = TRAINING

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(number_of(index) for index in range(self.people))

    def identity(self, number: int) -> Identity:
        return draw(self.seed, index_of(number), self.split)

    def parts(self, number: int) -> list[Part]:
        index = index_of(number)
        chance = Draw(self.seed, "views", self.split, index)
        others = [serial for serial in SERIALS if serial != FRONTAL]
        found: dict[str, dict[int, Sequence[str]]] = {"PORTRAIT": {0: CAMERAS}}
        for at in sorted(chance.child("moments").shuffled(len(TRAINING_MOMENTS))[: self.moments]):
            take, frame = TRAINING_MOMENTS[at]
            drawn = sorted(chance.child("cameras", take, frame).shuffled(len(others))[: self.cameras - 1])
            found.setdefault(take, {})[frame] = (FRONTAL, *(others[n] for n in drawn))
        return [_drawn(self, index, take, frames) for take, frames in found.items()]

    def described(self) -> dict[str, Any]:
        return {"moments": self.moments, "cameras_a_moment": self.cameras, "portrait_cameras": list(CAMERAS)}


def _drawn(plan: Plan, index: int, take: str, cameras: Mapping[int, Sequence[str]]) -> Part:
    states = sequence(take, plan.seed, index, max(cameras) + 1, FPS, plan.split)
    views = [(serial, frame) for frame, serials in cameras.items() for serial in serials]
    return Part(take, [states[frame] for _, frame in views], views)


def _part(plan: Plan, number: int, take: str, frames: Sequence[int], cameras: Sequence[str]) -> Part:
    return _drawn(plan, number, take, dict.fromkeys(frames, cameras))
