"""How sure a mean is: a bootstrap over identities, since the frames of one person are not independent draws.

Efron and Tibshirani, An Introduction to the Bootstrap (1993): percentile intervals (chapter 13), whole clusters drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from avatarbench.statistics import Value

DRAWS = 10_000
LEVEL = 0.95
SEED = 0

Totals = Mapping[str, tuple[float, int]]
"""Identity -> (sum of its frames' values, how many they are)."""


@dataclass(frozen=True)
class Interval:
    """The middle :data:`LEVEL` of the resampled values; ``identities`` is how many were drawn from."""

    low: float
    high: float
    identities: int

    @property
    def without_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def totals(
    column: Mapping[str, Value], frames: Iterable[str], sources: Mapping[str, str]
) -> dict[str, tuple[float, int]]:
    """Sums by identity of the values of ``frames``, in a fixed order; ``sources`` is sample id -> identity."""
    found: dict[str, tuple[float, int]] = {}
    for frame in sorted(frames):
        total, count = found.get(sources[frame], (0.0, 0))
        found[sources[frame]] = (total + column[frame].value, count + 1)
    return dict(sorted(found.items()))


def interval(of: Totals) -> Interval | None:
    """Of the mean over all frames. None with fewer than two identities: nothing is known of their spread."""
    return _quantiles(_means(of), len(of)) if len(of) > 1 else None


def paired(a: Totals, b: Totals) -> Interval | None:
    """Of mean(a) - mean(b), both resampled with the same identities; None with fewer than two.

    Raises ValueError where the two do not stand over the same frames of the same identities.
    """
    if {k: n for k, (_, n) in a.items()} != {k: n for k, (_, n) in b.items()}:
        raise ValueError("a paired interval needs both methods over the same frames.")
    return _quantiles(_means(a) - _means(b), len(a)) if len(a) > 1 else None


def _means(of: Totals) -> np.ndarray:
    sums, counts = np.array([of[k] for k in sorted(of)], np.float64).T
    drawn = _drawn(len(of))
    means: np.ndarray = (drawn @ sums) / (drawn @ counts)
    return means


@cache
def _drawn(identities: int) -> np.ndarray:
    """How often each identity is in each draw, (DRAWS, identities). The same for every method, which pairs them."""
    even = np.full(identities, 1 / identities)
    return np.random.default_rng(SEED).multinomial(identities, even, DRAWS).astype(np.float64)


def _quantiles(values: np.ndarray, identities: int) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), identities)
