"""How far one way of making clouds is from another, over the same people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avatarbench.errors import DataError

DRAWS = 10_000
LEVEL = 0.95


class Difference(NamedTuple):
    """``mean`` of ours less theirs, with a ``low`` and ``high`` that hold 95 % of what other draws of people would
    give, NaN for a single person; ``better``: people for whom ours is the smaller, of ``people``."""

    mean: float
    low: float
    high: float
    better: int
    people: int


def difference(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> Difference:
    """Paired by place: the percentile bootstrap over people (Efron 1979), the same draws for a seed and a number of
    people. Raises DataError for unequal numbers, none, or a value that is not finite."""
    if len(ours) != len(theirs) or not ours:
        raise DataError(f"{len(ours)} and {len(theirs)} values cannot be compared in pairs.")
    found = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    if not np.isfinite(found).all():
        raise DataError("a value to compare is not finite.")
    low = high = math.nan
    if len(found) > 1:
        drawn = np.random.default_rng(seed).integers(0, len(found), (DRAWS, len(found)))
        tail = 100 * (1 - LEVEL) / 2
        low, high = (float(v) for v in np.percentile(found[drawn].mean(1), (tail, 100 - tail)))
    return Difference(float(found.mean()), low, high, int((found < 0).sum()), len(found))
