"""What the test split's people are fitted on: the same moments from many cameras, none of them a protocol's target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from avatarbench.openheads.cameras import FRONTAL, spread
from avatarbench.openheads.sequences import sequence
from avatarbench.openheads.split import FPS, NUMBERS, SEED, SPLIT, Part

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

    def parts(self, number: int) -> list[Part]:
        everything = (*self.cameras, *self.held_cameras)
        few = (FRONTAL, *self.held_cameras)
        return [
            *(_part(number, take, frames, everything) for take, frames in self.moments.items()),
            *(_part(number, take, frames, few) for take, frames in self.held_moments.items()),
        ]

    def described(self) -> dict[str, Any]:
        return {
            "moments": {take: list(frames) for take, frames in self.moments.items()},
            "held_moments": {take: list(frames) for take, frames in self.held_moments.items()},
            "cameras": list(self.cameras),
            "held_cameras": list(self.held_cameras),
        }


def _part(number: int, take: str, frames: Sequence[int], cameras: Sequence[str]) -> Part:
    states = sequence(take, SEED, number, max(frames) + 1, FPS, SPLIT)
    views = [(serial, frame) for frame in frames for serial in cameras]
    return Part(take, [states[frame] for _, frame in views], views)
