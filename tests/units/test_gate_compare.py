"""When a metric fails: tolerance and separation, by identity; and what counts as lost."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarbench.gate.baseline import Baseline, MetricPart
from avatarbench.gate.compare import allowed_loss, check, judge
from avatarbench.gate.make import with_reruns
from avatarbench.gate.verdict import Row
from avatarbench.statistics import Value
from avatarbench.tables.bootstrap import interval, totals
from tests.units.gate_fixture import gate_baseline, levels
from tests.units.runs_fixture import Column

BASE = levels(0.2)
LPIPS = MetricPart(id="lpips-vgg", name="L", version=1, kind="pair", better="lower", unit="", digits=3)


def one(tmp_path: Path, before: Column, after: Column, metric: str = "lpips-vgg", **changes: object) -> Row:
    then = gate_baseline(tmp_path / "then", {metric: before}, **changes)
    return only(then, gate_baseline(tmp_path / "now", {metric: after}, **changes))


def only(then: Baseline, now: Baseline) -> Row:
    (row,) = check(now, then, "base.json").rows
    return row


def test_the_same_values_are_the_same(tmp_path: Path) -> None:
    row = one(tmp_path, BASE, BASE)
    assert (row.outcome, row.change, row.low, row.high) == ("same", 0, 0, 0)
    assert (row.identities, row.paired) == (4, 24)


def test_worse_by_more_than_the_tolerance_for_everybody_fails(tmp_path: Path) -> None:
    row = one(tmp_path, BASE, [v + 0.01 for v in BASE])
    assert row.outcome == "regressed"
    assert row.change == pytest.approx(0.01, rel=1e-4)
    assert row.low == pytest.approx(0.01, rel=1e-4)
    assert "worse by 0.01, tolerance 0.002" in row.message


def test_worse_by_less_than_the_tolerance_passes_however_certain(tmp_path: Path) -> None:
    assert one(tmp_path, BASE, [v + 0.0019 for v in BASE]).outcome == "same"


def test_the_direction_is_the_metrics_own(tmp_path: Path) -> None:
    higher = one(tmp_path / "a", levels(20), [v + 1 for v in levels(20)], "psnr", better="higher")
    lower = one(tmp_path / "b", levels(20), [v - 1 for v in levels(20)], "psnr", better="higher")
    assert (higher.outcome, lower.outcome) == ("improved", "regressed")


def test_worse_on_average_and_better_for_some_people_is_not_certain(tmp_path: Path) -> None:
    by = (0.06, -0.02, 0.03, -0.01)  # on average 0.015, seven tolerances
    row = one(tmp_path, BASE, [v + by[i % 4] for i, v in enumerate(BASE)])
    assert row.outcome == "unsure"
    assert not row.fails
    assert "over identities holds zero" in row.message


def test_many_frames_of_few_people_are_no_more_certain_than_the_people(tmp_path: Path) -> None:
    """A bootstrap over frames would call this certain: 400 frames, 300 of them of the people who got worse."""
    by = (0.03, 0.02, 0.01, -0.02)
    base = levels(0.2, frames=400)
    row = one(tmp_path, base, [v + by[i % 4] for i, v in enumerate(base)])
    frames = interval({str(i): (by[i % 4], 1) for i in range(400)})
    assert frames is not None
    assert frames.without_zero
    assert row.outcome == "unsure"


def test_one_identity_is_judged_by_tolerance_alone_and_told_so(tmp_path: Path) -> None:
    row = one(tmp_path, BASE, [v + 0.01 for v in BASE], people=1)
    assert row.outcome == "regressed"
    assert "the tolerance alone decides, since one identity has no interval" in row.message
    assert row.between == ""


def test_a_lost_value_fails_though_the_rest_got_better(tmp_path: Path) -> None:
    after: list[float | str] = [v - 0.01 for v in BASE]
    after[5] = "no face found"
    row = one(tmp_path, BASE, after)
    assert row.outcome == "lost"
    assert "1 samples lost their value (face1/clip/000005: no face found)" in row.message
    assert (row.valid_then, row.valid_now, row.paired) == (24, 23, 23)


def test_an_infinite_value_is_lost_and_never_enters_a_mean(tmp_path: Path) -> None:
    row = one(tmp_path, BASE, [math.inf, *BASE[1:]])
    assert row.outcome == "lost"
    assert row.change == 0
    assert "the value is inf" in row.message


def test_a_value_lost_and_another_gained_is_told_and_passes(tmp_path: Path) -> None:
    before: list[float | str] = ["no face found", *BASE[1:]]
    after: list[float | str] = [*BASE[:-1], "no face found"]
    row = one(tmp_path, before, after)
    assert row.outcome == "same"
    assert row.paired == 22
    assert "gained one" in row.message
    assert "lost their value" in row.message


def test_nothing_valid_on_either_side_passes_and_says_so(tmp_path: Path) -> None:
    row = one(tmp_path, ["no face found"] * 8, ["no face found"] * 8)
    assert (row.outcome, row.baseline) == ("same", None)
    assert "no sample has a value" in row.message


def test_the_file_may_allow_more_for_one_method(tmp_path: Path) -> None:
    after: list[float | str] = [v + 0.01 for v in BASE]
    after[0] = "no face found"
    then = gate_baseline(tmp_path / "then", {"lpips-vgg": BASE})
    now = gate_baseline(tmp_path / "now", {"lpips-vgg": after})
    assert only(then, now).outcome == "regressed"
    allowed = {"*": {"lpips-vgg": 0.001}, "warp": {"lpips-vgg": 0.02, "coverage": 0.05}}
    assert only(then.model_copy(update={"tolerances": allowed}), now).outcome == "same"


def test_a_part_of_the_samples_is_counted_to_the_sample(tmp_path: Path) -> None:
    then = gate_baseline(tmp_path / "then", {"lpips-vgg": BASE}).model_copy(
        update={"tolerances": {"*": {"coverage": 0.29}}}
    )
    assert allowed_loss(then, "warp", "lpips-vgg", 100) == 29  # 0.29 * 100 is a little less


def test_missing_samples_fail_and_the_others_are_compared(tmp_path: Path) -> None:
    then = gate_baseline(tmp_path / "then", {"lpips-vgg": BASE})
    fewer = gate_baseline(tmp_path / "now", {"lpips-vgg": BASE[:20]}, protocol={"manifest": "cd" * 32})
    verdict = check(fewer, then, "base.json")
    assert verdict.failed
    assert [f.message for f in verdict.findings if f.fails] == [
        "the run lacks 4 samples (face0/clip/000020, face1/clip/000021, face2/clip/000022, ...) of the baseline's 24"
    ]
    assert [(r.outcome, r.paired) for r in verdict.rows] == [("same", 20)]
    more = check(then, fewer, "base.json")
    assert any("4 samples" in f.message and "does not know" in f.message for f in more.findings if f.fails)


@pytest.mark.parametrize(
    ("value", "n", "outcome"),
    [(10.05, 24, "same"), (10.2, 24, "regressed"), (9.5, 24, "improved"), (10.0, 23, "lost"), (10.9, 25, "same")],
)
def test_a_set_has_a_tolerance_and_no_interval(tmp_path: Path, value: float, n: int, outcome: str) -> None:
    then = gate_baseline(tmp_path / "then", {}, sets={"fid": (10.0, 24)}, pairs=24)
    now = gate_baseline(tmp_path / "now", {}, sets={"fid": (value, n)}, pairs=24)
    row = only(then, now)
    assert row.outcome == outcome
    assert row.low is None
    if outcome == "regressed":
        assert "a set has no interval" in row.message


def test_ten_reruns_over_seeds_raise_no_alarm_where_the_spread_was_measured(tmp_path: Path) -> None:
    """A method that draws: every run moves each person by as much as ten tolerances. A real change is still caught."""

    def rerun(seed: int, by: float = 0.0) -> Baseline:
        people = np.random.default_rng(seed).normal(0, 0.02, 4)
        values = [v + people[i % 4] + by for i, v in enumerate(BASE)]
        return gate_baseline(tmp_path / f"{seed}-{by}", {"lpips-vgg": values})

    saved = with_reruns(rerun(0), [rerun(seed) for seed in (1, 2, 3)])
    outcomes = [only(saved, rerun(seed)).outcome for seed in range(10, 20)]
    assert "regressed" not in outcomes
    assert only(saved, rerun(30, by=0.15)).outcome == "regressed"


def test_the_interval_agrees_with_drawing_identities_one_by_one_in_float64() -> None:
    rng = np.random.default_rng(3)
    by_person = {f"p{i}": rng.normal(rng.normal(0.01, 0.02), 0.01, int(rng.integers(3, 9))) for i in range(7)}
    values = {f"{p}/{i}": Value(float(v)) for p, vs in by_person.items() for i, v in enumerate(vs)}
    found = interval(totals(values, values, {s: s.split("/")[0] for s in values}))
    people = list(by_person.values())
    means = [np.concatenate([people[i] for i in rng.integers(0, 7, 7)]).mean() for _ in range(20_000)]
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=6e-4)


def test_with_a_dozen_people_and_no_change_few_checks_are_called_certain() -> None:
    """Known coverage: the interval misses zero for at most 1 in 10, nominally 1 in 20, and half of these are worse."""
    rng = np.random.default_rng(11)
    missed = 0
    for _ in range(300):
        means = rng.normal(0, 1, 12)
        found = interval({f"p{i}": (float(m) * 8, 8) for i, m in enumerate(means)})
        assert found is not None
        missed += found.without_zero
    assert 3 <= missed <= 30


@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(-1, 1), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_change_fails_only_where_both_conditions_hold(
    change: float, tolerance: float, low: float, width: float
) -> None:
    outcome, _ = judge(change, tolerance, LPIPS, (low, low + width))
    if outcome == "regressed":
        assert change > tolerance
        assert low > 0 or low + width < 0
    mirrored, _ = judge(change, tolerance, LPIPS.model_copy(update={"better": "higher"}), (low, low + width))
    swap = {"regressed": "improved", "improved": "regressed"}
    assert mirrored == swap.get(outcome, outcome)
