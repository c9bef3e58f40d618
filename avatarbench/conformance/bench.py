"""Runs a method as a run does: seeded, timed, its pictures checked, and everything handed to it compared afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench import registry
from avatarbench.errors import AvatarbenchError
from avatarbench.isolation.client import WorkerError
from avatarbench.method import Avatar, Method, MethodSpec, Motion, Portrait
from avatarbench.run.render import METHOD_ERRORS, check_image, seed_everything, taken

SEED = 0


@dataclass
class Shot:
    """One frame: ``image`` (H, W, 3 or 4) uint8, or the ``error`` of rendering it. ``wrong``: how the picture breaks
    the image contract; ``raw``: what render() gave, and ``kept`` a copy of it as it was then."""

    motion: str
    seconds: float = 0.0
    image: NDArray[np.uint8] | None = None
    error: BaseException | None = None
    wrong: str = ""
    raw: Any = None
    kept: Any = None

    @property
    def overwritten(self) -> bool:
        """Whether a later frame was written into this one's array."""
        both = isinstance(self.raw, np.ndarray) and isinstance(self.kept, np.ndarray)
        return both and not np.array_equal(self.raw, self.kept, equal_nan=np.issubdtype(self.kept.dtype, np.floating))


@dataclass
class Take:
    """An avatar of one portrait, and its frames in the order they were asked for. ``error``: of building it."""

    avatar: Avatar | None = None
    error: BaseException | None = None
    seconds: float = 0.0
    shots: list[Shot] = field(default_factory=list)
    share: float = 0.0  # seconds of announcing, a frame
    touched: list[str] = field(default_factory=list)  # inputs that came back changed

    def image(self, motion: str) -> NDArray[np.uint8] | None:
        return next((s.image for s in self.shots if s.motion == motion), None)


def construct(spec: MethodSpec, options: dict[str, Any]) -> Method:
    """The method, set up. Raises AvatarbenchError and whatever the method raises."""
    method: Method = registry.load(spec.factory)(**options)
    return method


def take(
    spec: MethodSpec, method: Method, portrait: Portrait, motions: Sequence[Motion], announced: Sequence[Motion] = ()
) -> Take:
    """Build and render. ``announced``: what an avatar that asks for it is told of beforehand, by default ``motions``.

    The method gets copies, which are compared with the originals afterwards.
    """
    found = Take()
    given, told = deepcopy(portrait), deepcopy(list(announced or motions))
    try:
        start = _begin(spec, method, portrait.id)
        found.avatar = method.build(given)
        found.seconds = taken(method, start)
        if hasattr(found.avatar, "announce"):
            start = _begin(spec, found.avatar, portrait.id, "announce")
            found.avatar.announce(told)
            found.share = taken(found.avatar, start) / len(told)
    except METHOD_ERRORS as error:
        found.error = error
    found.touched = [f"portrait.{name}" for name in changed(portrait, given)]
    shape = shape_of(spec, portrait)
    for motion in motions if found.error is None else ():
        found.shots.append(render(spec, found, motion, shape))
    return found


def render(spec: MethodSpec, of: Take, motion: Motion, shape: tuple[int, ...]) -> Shot:
    """One more frame of a take's avatar."""
    if of.avatar is None:
        raise ValueError("a take without an avatar has no frames")
    given, shot = deepcopy(motion), Shot(motion.id)
    try:
        start = _begin(spec, of.avatar, motion.id)
        shot.raw = of.avatar.render(given)
        shot.seconds = taken(of.avatar, start) + of.share
        shot.kept = deepcopy(shot.raw)
        shot.image = check_image(shot.kept, shape).copy()
    except METHOD_ERRORS as error:
        if shot.kept is None:
            shot.error = error
        else:  # it answered, and check_image objects
            shot.wrong = str(error)
    of.touched += [f"motion.{name}" for name in changed(motion, given)]
    return shot


def _begin(spec: MethodSpec, target: object, *names: str) -> float:
    """Seed what the next call draws from, as a run does, and the time."""
    value = seed_everything(SEED, spec.id, *names)
    if callable(tell := getattr(target, "seed", None)):
        tell(value)
    return time.perf_counter()


def shape_of(spec: MethodSpec, portrait: Portrait) -> tuple[int, ...]:
    """What render() has to return: (H, W, 3), with alpha (H, W, 4)."""
    return (*portrait.image.shape[:2], 4 if spec.framing is not None and spec.framing.alpha else 3)


def polite(error: BaseException) -> bool:
    """Whether an error is meant for people, and not a crash, be it here or in a worker."""
    return isinstance(error, AvatarbenchError) and not isinstance(error, WorkerError)


def changed(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Names of the arrays of two like records that differ."""
    return [name for name, a, b in _pairs(before, after, prefix) if not np.array_equal(a, b)]


def _pairs(before: Any, after: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    for one in fields(before):
        a, b, name = getattr(before, one.name), getattr(after, one.name), f"{prefix}{one.name}"
        if isinstance(a, np.ndarray):
            yield name, a, b
        elif is_dataclass(a):
            yield from _pairs(a, b, f"{name}.")
