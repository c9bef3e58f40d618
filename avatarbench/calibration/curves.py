"""What a curve of values over the size of a change says: its slope, where it saturates, what it can detect."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Better = Literal["lower", "higher"]

SHARE = 0.25
"""A curve saturates where it rises by less than this share of its steepest rise."""
DEVIATIONS = 2.0
"""A change is detected where the mean leaves the noise floor by so many standard deviations of the floor."""
SMALL_END = 3
"""Points that the slope is fitted to."""


def slope(levels: Sequence[float], values: Array, zero: Array | None, seen: float | None = None) -> float:
    """Change of the value for a unit of the change, at the small end; NaN where no scene has two values.

    ``values`` (S, L): a scene a row; ``zero`` (S,): each scene's value without the change, or None where that is no
    measurement. Theil-Sen: the median of the slopes between all pairs of :data:`SMALL_END` points of a scene, of all
    scenes together, so that neither a scene that differs nor a single bad value moves it far. They are the first ones,
    or where the noise hides all below the level ``seen``, those from the last hidden one on: a distance under noise
    does not add to it but drowns in it.
    """
    x, y = _points(levels, values, zero)
    hidden = 0 if seen is None else int((x < seen).sum()) - 1
    start = max(0, min(hidden, len(x) - SMALL_END))
    x, y = x[start : start + SMALL_END], y[:, start : start + SMALL_END]
    rises = np.array([(y[:, b] - y[:, a]) / (x[b] - x[a]) for a, b in combinations(range(len(x)), 2)])
    finite = rises[np.isfinite(rises)]
    return float(np.median(finite)) if finite.size else float("nan")


def saturation(levels: Sequence[float], means: Array, zero: float | None, better: Better) -> float | None:
    """The first level after which every rise of the mean is below :data:`SHARE` of the steepest; None for none.

    ``means`` (L,); a rise is towards the worse, for a unit of the change. The last level is never the answer, since
    nothing is known beyond it. Levels without a mean are passed over.
    """
    x, y = _points(levels, means[None], None if zero is None else np.array([zero]))
    known = np.isfinite(y[0])
    x, worse = x[known], _worse(y[0][known], better)
    if len(x) < 3:
        return None
    rises = np.diff(worse) / np.diff(x)
    if rises.max() <= 0:
        return None
    flat = rises < SHARE * rises.max()
    first = len(flat) - int(np.argmin(flat[::-1]))  # the segments from here on are all flat
    return float(x[first]) if first < len(flat) else None


def detection(levels: Sequence[float], means: Array, floor: float, deviation: float, better: Better) -> float | None:
    """The smallest level whose mean is worse than the floor by :data:`DEVIATIONS` of its ``deviation``, or None.

    None as well where the floor or its deviation is not known (NaN).
    """
    limit = _worse(np.array([floor]), better)[0] + DEVIATIONS * deviation
    for level, value in zip(levels, _worse(means, better), strict=True):
        if value > limit:
            return level
    return None


def jackknife(left_out: Sequence[float]) -> float:
    """Standard error of a value of a whole set, from its values with one part left out at a time (Tukey 1958).

    NaN for fewer than two parts or where one has no value.
    """
    values = np.array(left_out, np.float64)
    n = len(values)
    return float(np.sqrt((n - 1) / n * np.square(values - values.mean()).sum())) if n > 1 else float("nan")


def _points(levels: Sequence[float], values: Array, zero: Array | None) -> tuple[Array, Array]:
    """Levels and values with no change in front, where it counts."""
    x = np.array(levels, np.float64)
    return (x, values) if zero is None else (np.r_[0.0, x], np.c_[zero, values])


def _worse(values: Array, better: Better) -> Array:
    return values if better == "lower" else -values
