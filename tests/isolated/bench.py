"""One method that goes wrong on demand at a site, what it told, and what its worker's processes came to."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from avatarbench.isolation.method import IsolatedAvatar
from avatarbench.method import Camera, FaceTrack, Motion, Portrait, Site
from tests.isolated import Faulty, Interpreter

SIZE = 64
IMAGE = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3)).astype(np.uint8)
FACE = FaceTrack(np.zeros((478, 3), np.float32), np.zeros(52, np.float32), np.eye(4, dtype=np.float32))
CAMERA = Camera(np.eye(3), np.eye(4), SIZE, SIZE)


class Told:
    """What a method told the run, and its site."""

    def __init__(self, folder: Path) -> None:
        self.notes: list[str] = []
        self.restarts: list[str] = []
        self.said: list[str] = []
        self.site = Site(folder / "jobs" / "faulty", self.notes.append, self.restarts.append, self.said.append)

    @property
    def kept(self) -> list[Path]:
        """The first that was kept comes first."""
        return sorted(
            (path for path in self.site.folder.glob("*") if path.is_dir()), key=lambda p: p.stat().st_ctime_ns
        )


class Bench:
    """A method that goes wrong as told, open at a site, and closed in the end."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.methods: list[Faulty] = []

    def method(self, interpreter: Interpreter | None = None, timeout: float = 20.0, **options: Any) -> Faulty:
        method = Faulty(interpreter, **options)
        method.frame_timeout = timeout
        method.open(self.told.site)
        self.methods.append(method)
        return method

    def avatar(self, interpreter: Interpreter | None = None, timeout: float = 20.0, **options: Any) -> IsolatedAvatar:
        return self.method(interpreter, timeout, **options).build(portrait())


def portrait(name: str = "p") -> Portrait:
    return Portrait(name, IMAGE, face=FACE, camera=CAMERA)


def motion(name: str, index: int = 3) -> Motion:
    return Motion(name, index, IMAGE, face=FACE, camera=CAMERA)


def seeded(avatar: IsolatedAvatar, name: str, index: int = 3) -> np.ndarray:
    avatar.seed(5)
    return avatar.render(motion(name, index))


def expected(index: int = 3) -> np.ndarray:
    """What the shim draws from the seed, as this process does."""
    random.seed(5)
    np.random.seed(5)
    image = IMAGE.copy()
    image[0, 0] = random.randrange(256), np.random.randint(256), index
    return image


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def gone(*pids: int) -> bool:
    until = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(alive, pids))
