"""Smooth curves over time, drawn from a seed. A longer curve begins with the shorter one of the same seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Draw:
    """Numbers of a stream that is named by integers and words.

    Only ``Generator.random`` is used, whose bits numpy has never changed; it promises nothing of the distributions.
    """

    def __init__(self, *key: int | str) -> None:
        self.key = key
        numbers = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key]
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))

    def child(self, *key: int | str) -> Draw:
        """A stream of its own: what is drawn from it moves nothing here."""
        return Draw(*self.key, *key)

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * float(self._generator.random())

    def index(self, count: int) -> int:
        """0 to ``count - 1``."""
        return min(int(count * self._generator.random()), count - 1)

    def shuffled(self, count: int) -> list[int]:
        """0 to ``count - 1`` in a drawn order."""
        return [int(i) for i in np.argsort([self._generator.random() for _ in range(count)], kind="stable")]


def step(times: Array, start: float, end: float) -> Array:
    """0 before ``start``, 1 after ``end``, between them the quintic with zero velocity and acceleration at both."""
    x = np.clip((times - start) / (end - start), 0, 1)
    return x**3 * (10 - 15 * x + 6 * x**2)


def bump(times: Array, start: float, rise: float, fall: float) -> Array:
    """From 0 to 1 within ``rise`` seconds and back within ``fall``."""
    return step(times, start, start + rise) - step(times, start + rise, start + rise + fall)


@dataclass(frozen=True)
class Key:
    """``value`` (K,) is being reached from ``start`` on and stands at ``end``, seconds."""

    start: float
    end: float
    value: Array


def keyed(times: Array, first: Array, until: float, follow: Callable[[float], Key]) -> Array:
    """(T, K): from ``first`` (K,) through the keys that ``follow`` gives for the time at which the last one is left.

    No key starts before the one before it has been reached, so every value lies between two neighbouring keys.
    """
    found = np.repeat(first[None], len(times), axis=0)
    last, free = first, 0.0
    while free < until:
        key = follow(free)
        found += step(times, key.start, key.end)[:, None] * (key.value - last)
        last, free = key.value, key.end
    return found


def sway(times: Array, draw: Draw, count: int) -> Array:
    """(T, count) in [-1, 1]: sums of three slow sines each, 0.08 to 0.5 Hz."""
    found = np.zeros((len(times), count))
    for column in range(count):
        for _ in range(3):
            frequency, phase = draw.between(0.08, 0.5), draw.between(0, 2 * np.pi)
            found[:, column] += np.sin(2 * np.pi * frequency * times + phase) / 3
    return found


def united(one: Array, other: Array) -> Array:
    """Both at once, in [0, 1], smooth: ``1 - (1 - a)(1 - b)``."""
    return 1 - (1 - one) * (1 - other)
