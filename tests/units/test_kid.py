"""KID: unbiased, seeded, mergeable."""

from __future__ import annotations

import numpy as np
import pytest

from avatarbench.metrics.kid import Kid, mmd2


def rows(n: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (n, 16)).astype(np.float32)


def test_two_points_a_side_have_the_value_by_hand() -> None:
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [3.0]])
    within = (1 * 2 + 1) ** 3 + (0 * 3 + 1) ** 3
    across = np.mean([1, (1 * 3 + 1) ** 3, 1, (2 * 3 + 1) ** 3])
    assert mmd2(x, y) == pytest.approx(within - 2 * across)


def test_sets_of_one_distribution_are_near_zero_on_average_and_shifted_ones_are_not() -> None:
    kid = Kid()
    same = [kid.value(kid.statistics(rows(40, s)), kid.statistics(rows(40, 100 + s))) for s in range(60)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(len(same))
    assert kid.value(kid.statistics(rows(40, 0)), kid.statistics(rows(40, 1, shift=1.0))) > 10 * np.std(same)


def test_merged_statistics_and_repeated_calls_give_the_same_number() -> None:
    kid = Kid()
    a, b = rows(30, 0), rows(45, 1, 0.3)
    whole = kid.value(kid.statistics(a), kid.statistics(b))
    parts = kid.statistics(a[:10]).merge(kid.statistics(a[10:]))
    assert kid.value(parts, kid.statistics(b)) == whole
