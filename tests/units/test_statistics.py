from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avatarbench.errors import DataError
from avatarbench.run.record import Result
from avatarbench.statistics import Value, printed, rank, set_result, summarise, values_of
from tests.units.runs_fixture import method, metric

Column = dict[str, Value]


def column(*values: float | str) -> Column:
    return {f"s{i}": Value(math.nan, v) if isinstance(v, str) else Value(v) for i, v in enumerate(values)}


def results(columns: dict[str, Column], n_total: int, **roles: str) -> dict[str, Result]:
    methods = [method(m, role=roles.get(m, "method")) for m in columns]
    found = summarise({(m, "akd"): c for m, c in columns.items()}, methods, [metric("akd")], n_total)
    return {r.method: r for r in found}


def test_headline_is_over_the_frames_valid_for_every_method() -> None:
    a = column(*[1.0] * 19, 100.0)
    b = column(*[3.0] * 19, "no face found in the prediction")
    found = results({"a": a, "b": b}, 20)
    assert found["a"].value == 1.0
    assert found["a"].own == pytest.approx((19 + 100) / 20)
    assert (found["a"].n_valid, found["a"].n_common, found["a"].n_total) == (20, 19, 20)
    assert found["b"].value == found["b"].own == 3.0
    assert found["b"].n_valid == 19


def test_a_method_below_coverage_narrows_nothing_and_is_shown_on_its_own_frames() -> None:
    a = column(*range(20))
    b = column(*[5.0] * 18, "black", "black")
    found = results({"a": a, "b": b}, 20)
    assert found["a"].value == pytest.approx(9.5)
    assert found["a"].n_common == 20
    assert found["b"].value == 5.0
    assert found["b"].n_common == found["b"].n_valid == 18


def test_coverage_of_exactly_95_percent_takes_part() -> None:
    found = results({"a": column(*range(20)), "b": column(*[5.0] * 19, "black")}, 20)
    assert found["a"].n_common == 19


def test_bounds_count_in_the_common_set() -> None:
    found = results({"a": column(*range(20)), "floor": column("black", *[5.0] * 19)}, 20, floor="bound")
    assert found["a"].n_common == 19


def test_samples_are_matched_by_id_never_by_position() -> None:
    rows = [
        {"method": m, "metric": "akd", "sample": f"s{i}", "value": float(i), "reason": None}
        for m in "ab"
        for i in range(40)
        if (m, i) != ("b", 0)  # a missing prediction
    ]
    random.Random(0).shuffle(rows)
    methods = [method("a"), method("b")]
    a, b = summarise(values_of(rows), methods, [metric("akd")], 40)
    assert a.value == b.value == sum(range(1, 40)) / 39
    assert (a.n_common, b.n_valid, b.n_total) == (39, 39, 40)


def test_an_empty_mean_is_nan_with_the_commonest_reason() -> None:
    found = results({"a": column("no face found", "size", "no face found"), "b": column(1, 2, 3)}, 3)
    assert math.isnan(found["a"].value)
    assert math.isnan(found["a"].own)
    assert found["a"].n_common == 0
    assert found["a"].reason == "no face found (2 of 3 frames)"
    assert found["b"].value == 2.0
    assert found["b"].reason is None


def test_a_method_without_samples_says_that_it_was_not_scored() -> None:
    found = results({"a": column(1, 2), "b": {}}, 2)
    assert found["b"].reason == "not scored"
    assert found["b"].n_total == 2


def test_no_samples_at_all_is_nan_with_a_reason() -> None:
    assert results({"a": {}}, 0)["a"].reason == "the protocol has no samples"


def test_unavailable_methods_and_metrics_pass_on_why() -> None:
    methods = [method("a"), method("oracle", unavailable="needs target")]
    metrics = [metric("akd"), metric("clip", unavailable="weights"), metric("fid", kind="set", unavailable="weights")]
    found = {(r.method, r.metric): r for r in summarise({("a", "akd"): column(1, 2)}, methods, metrics, 2)}
    assert found["oracle", "akd"].reason == "needs target"
    assert found["a", "clip"].reason == found["a", "fid"].reason == "weights"
    assert found["a", "akd"].value == 1.5
    assert list(found) == [(m.id, k.id) for m in methods for k in metrics]


def test_an_infinite_value_is_not_averaged() -> None:
    found = results({"a": column(math.inf, *[1.0] * 19)}, 20)
    assert found["a"].value == 1.0
    assert found["a"].n_valid == 19


def test_no_common_frame_is_nan_with_a_reason() -> None:
    columns = {f"m{i}": column(*(("x" if j == i else 1.0) for j in range(20))) for i in range(20)}
    found = results(columns, 20)["m0"]
    assert found.reason == "no frame is valid for every method"
    assert math.isnan(found.value)
    assert found.own == 1.0


def test_set_results_are_passed_on_and_a_value_that_is_not_finite_needs_a_reason() -> None:
    given_result = set_result("a", "fid", 12.5, 19, 20, None)
    fid = metric("fid", kind="set")
    assert summarise({}, [method("a")], [fid], 20, [given_result]) == [given_result]
    assert summarise({}, [method("b")], [fid], 20, [given_result])[0].reason == "not scored"
    assert set_result("a", "fid", math.inf, 2, 2, None).reason == "the value is inf"


def test_a_sample_given_twice_is_refused() -> None:
    row = {"method": "a", "metric": "akd", "sample": "s0", "value": 1.0, "reason": None}
    with pytest.raises(DataError, match="s0"):
        values_of([row, row])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_move_a_bit(values: list[float], order: random.Random) -> None:
    items = list(column(*values).items())
    before = results({"a": dict(items)}, len(items))["a"].value
    order.shuffle(items)
    assert results({"a": dict(items)}, len(items))["a"].value == before


def test_best_and_second_follow_the_direction() -> None:
    values = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert rank(values, "lower", 3) == {"a": "best", "b": "second"}
    assert rank(values, "higher", 3) == {"c": "best", "b": "second"}


def test_ties_at_the_printed_precision_share_the_mark() -> None:
    values = {"a": 0.1231, "b": 0.1229, "c": 0.2, "d": 0.2004, "e": 0.3}
    assert rank(values, "lower", 3) == {"a": "best", "b": "best", "c": "second", "d": "second"}
    assert rank(values, "lower", 4) == {"b": "best", "a": "second"}


def test_nan_is_never_ranked_and_one_method_alone_has_no_mark() -> None:
    assert rank({"a": math.nan, "b": 1.0, "c": 2.0}, "lower", 3) == {"b": "best", "c": "second"}
    assert rank({"a": math.nan, "b": 1.0}, "lower", 3) == {}
    assert rank({}, "lower", 3) == {}


def test_zero_is_printed_without_a_sign() -> None:
    assert printed(-0.0001, 3) == "0.000"
    assert printed(-0.6, 0) == "-1"
    assert rank({"a": -0.0001, "b": 0.0001}, "lower", 3) == {"a": "best", "b": "best"}
