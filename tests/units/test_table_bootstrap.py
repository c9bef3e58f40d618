from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarbench.statistics import Value
from avatarbench.tables.bootstrap import Totals, interval, paired, totals

people = st.lists(st.tuples(st.floats(-10, 10), st.integers(1, 9)), min_size=2, max_size=8)


def of(rows: list[tuple[float, int]]) -> Totals:
    return {f"p{i}": (mean * n, n) for i, (mean, n) in enumerate(rows)}


def test_frames_are_summed_by_person() -> None:
    column = {"a/1": Value(1.0), "a/2": Value(2.0), "b/1": Value(5.0), "b/2": Value(9.0)}
    sources = {k: k[0] for k in column}
    assert totals(column, ["b/1", "a/2", "a/1"], sources) == {"a": (3.0, 2), "b": (5.0, 1)}


def test_an_interval_agrees_with_drawing_people_one_by_one() -> None:
    rng = np.random.default_rng(7)
    rows = [(float(m), int(n)) for m, n in zip(rng.normal(3, 1, 9), rng.integers(5, 25, 9), strict=True)]
    sums, counts = np.array([m * n for m, n in rows]), np.array([n for _, n in rows])
    drawn = rng.integers(0, 9, (40_000, 9))
    expected = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
    found = interval(of(rows))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.03)
    assert found.identities == 9


def test_of_two_people_only_the_three_possible_draws_come_out() -> None:
    found = interval({"a": (0.0, 1), "b": (1.0, 1)})
    assert found is not None
    assert (found.low, found.high) == (0.0, 1.0)


@given(people)
@settings(max_examples=15, deadline=None)
def test_an_interval_lies_within_the_means_of_the_people_and_ignores_their_order(rows: list[tuple[float, int]]) -> None:
    found = interval(of(rows))
    assert found is not None
    means = [m for m, _ in rows]
    assert min(means) - 1e-9 <= found.low <= found.high <= max(means) + 1e-9
    assert interval(dict(reversed(of(rows).items()))) == found


@given(people, st.floats(0.1, 5))
@settings(max_examples=15, deadline=None)
def test_a_constant_gap_is_certain_however_far_people_lie_apart(rows: list[tuple[float, int]], gap: float) -> None:
    found = paired(of([(m + gap, n) for m, n in rows]), of(rows))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((gap, gap), abs=1e-9)
    assert found.without_zero


def test_one_person_has_no_interval_and_other_frames_are_refused() -> None:
    assert interval({"a": (1.0, 3)}) is None
    assert paired({"a": (1.0, 3)}, {"a": (2.0, 3)}) is None
    with pytest.raises(ValueError, match="same frames"):
        paired({"a": (1.0, 3)}, {"a": (1.0, 2)})
