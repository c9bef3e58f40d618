"""Rendered frames on disk, named by everything that they depend on, so that a killed run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avatarbench.calibration.plan import Shot
from avatarbench.datasets.images import read_image, write_png
from avatarbench.errors import DataError
from avatarbench.method import Camera
from avatarbench.openheads.identity import Identity, draw
from avatarbench.openheads.state import HeadState

_PACKAGES = ("anny", "mitsuba", "numpy", "scipy", "torch")
_SOURCES = ("avatarbench.openheads", "avatarbench.heads")
_LEFT_OUT = ("test", "__pycache__")


class Rendered(Protocol):
    """What a studio gives: ``rgb`` (H, W, 3) uint8."""

    @property
    def rgb(self) -> NDArray[np.uint8]: ...


class Painter(Protocol):
    """One person made ready, as :class:`avatarbench.openheads.studio.Studio` is."""

    def render(self, state: HeadState, camera: Camera, samples: int, seed: int) -> Rendered: ...


class Frames:
    """The frames of one camera and number of samples under ``folder``; persons are drawn from ``seed``'s test split."""

    def __init__(self, folder: Path, camera: Camera, samples: int, seed: int) -> None:
        self._folder = folder
        self._camera = camera
        self._samples = samples
        self._seed = seed
        self._persons: dict[int, Identity] = {}
        self.seconds: list[float] = []
        """What each frame took that was rendered here."""

    def person(self, index: int) -> Identity:
        """Person ``index`` of the test stream."""
        if index not in self._persons:
            self._persons[index] = draw(self._seed, index, split="test")
        return self._persons[index]

    def path(self, shot: Shot) -> Path:
        """Where the frame is, or will be."""
        camera, state = self._camera, shot.state
        depends: dict[str, Any] = {
            "identity": self.person(shot.person).to_json(),
            "state": [_numbers(part) for part in (state.expression, state.joints, state.translation)],
            "camera": [_numbers(camera.K), _numbers(camera.world_to_camera), camera.width, camera.height],
            "samples": self._samples,
            "seed": shot.seed,
            "version": fingerprint(),
        }
        return self._folder / f"{hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:32]}.png"

    def read(self, shot: Shot) -> NDArray[np.uint8]:
        """(H, W, 3) uint8. Raises DataError where it was not rendered or is damaged."""
        return read_image(self.path(shot))[0]

    def missing(self, shots: Sequence[Shot]) -> list[Shot]:
        """Those that are not there, or cannot be read in full."""
        return [shot for shot in shots if not self._whole(shot)]

    def render(self, shots: Sequence[Shot], painter: Callable[[Identity], Painter], done: Callable[[], None]) -> None:
        """Render ``shots`` one person after the other, each made ready once; ``done`` is called after each frame."""
        for person in dict.fromkeys(shot.person for shot in shots):
            begun = time.perf_counter()
            studio = painter(self.person(person))
            for shot in shots:
                if shot.person == person:
                    image = studio.render(shot.state, self._camera, self._samples, shot.seed).rgb
                    write_png(self.path(shot), image)
                    self.seconds.append(time.perf_counter() - begun)
                    done()
                    begun = time.perf_counter()

    def _whole(self, shot: Shot) -> bool:
        try:
            return self.read(shot).shape == (self._camera.height, self._camera.width, 3)
        except DataError:  # absent or damaged: it is rendered again
            return False


@cache
def fingerprint() -> str:
    """Hash of the code and data that draw and render OpenHeads and of the versions of the packages beneath them."""
    h = hashlib.sha256()
    for package in _SOURCES:
        h.update(tree_digest(resources.files(package)))
    for name in _PACKAGES:
        h.update(f"{name} {_version(name)}".encode())
    return h.hexdigest()


def tree_digest(folder: Traversable) -> bytes:
    """sha256 over names and content of everything below a package's folder but what no frame depends on: the test
    split's pictures, compiled code, and hidden files, which are those of a writer at work."""
    h = hashlib.sha256()
    for entry in sorted(folder.iterdir(), key=lambda p: p.name):
        if entry.name.startswith(".") or (entry.is_dir() and entry.name in _LEFT_OUT):
            continue
        content = tree_digest(entry) if entry.is_dir() else hashlib.sha256(entry.read_bytes()).digest()
        h.update(hashlib.sha256(entry.name.encode()).digest() + content)
    return h.digest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _numbers(array: NDArray[Any]) -> list[float]:
    return [round(float(x), 7) + 0.0 for x in np.asarray(array).ravel()]
