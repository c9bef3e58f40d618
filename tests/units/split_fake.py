"""Datasets without files: recordings from cameras, or clips, whose names and lengths are all that a rule reads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from avatarbench import registry
from avatarbench.errors import DataError
from avatarbench.method import Camera, FaceTrack
from avatarbench.metrics.face import ARKIT_NAMES
from avatarbench.metrics.features import Missing
from avatarbench.protocol import ProtocolSpec

FRONTAL = "222200037"
SERIALS = {FRONTAL: 0.0, "222200042": 20.0, "222200043": -30.0, "222200044": 44.0, "222200045": 15.0, "222200046": 70.0}
"""Camera serials with the angle from which each looks."""


@dataclass
class Recordings:
    """``lengths``: sequence name -> frames. A frame's picture holds its index."""

    lengths: Mapping[str, int]
    masks: bool = True
    uncalibrated: Sequence[str] = ()
    content: dict[str, str] = field(default_factory=dict)
    people: Mapping[str, str] = field(default_factory=dict)

    def sequences(self) -> list[str]:
        return list(self.lengths)

    def length(self, sequence: str) -> int:
        return self.lengths[sequence]

    def read(self, sequence: str, index: int) -> NDArray[np.uint8]:
        return np.full((64, 64, 3), index, np.uint8)

    def digest(self, sequence: str) -> str:
        return hashlib.sha256(f"{sequence}{self.content.get(sequence, '')}".encode()).hexdigest()

    def notes(self, sequence: str) -> list[str]:
        return []

    def identity(self, sequence: str) -> str:
        return self.people.get(sequence, sequence.partition("_")[0])

    def camera(self, sequence: str) -> Camera | None:
        person, _, rest = sequence.partition("_")
        if person in self.uncalibrated:
            return None
        turn = np.radians(SERIALS[rest.rpartition("_")[2]])
        pose = np.eye(4)
        pose[:3, :3] = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
        return Camera(np.eye(3), pose, 64, 64)

    def mask(self, sequence: str, index: int) -> NDArray[np.float32] | None:
        return np.ones((64, 64), np.float32) if self.masks else None


def multi_view(people: Sequence[str], frames: int = 40, serials: Sequence[str] = tuple(SERIALS)) -> dict[str, int]:
    return {f"{person}_FREE_{serial}": frames for person in people for serial in serials}


def spec_of(name: str, **changes: object) -> ProtocolSpec:
    """A protocol whose rule is changed."""
    spec = registry.protocol(name)
    assert spec.split is not None
    return replace(spec, split=replace(spec.split, **changes))  # type: ignore[arg-type]


def face(yaw: float = 0, pitch: float = 0, faces: int = 1, blink: float = 0, at: float = 32) -> FaceTrack:
    """A face in a 64 x 64 picture, turned by degrees."""
    y, p = np.radians([yaw, pitch])
    head = np.eye(4, dtype=np.float32)
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    head[:3, :3] = about_y @ about_x
    arkit = np.zeros(52, np.float32)
    arkit[ARKIT_NAMES.index("eyeBlinkRight")] = blink
    points = np.full((478, 3), at, np.float32) + np.linspace(-10, 10, 478, dtype=np.float32)[:, None]
    return FaceTrack(points, arkit, head, faces)


def everybody_seen(_: NDArray[np.uint8]) -> FaceTrack | Missing:
    return face()


def unreadable(*_: object) -> NDArray[np.uint8]:
    raise DataError("frame 0 cannot be decoded")
