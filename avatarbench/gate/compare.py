"""A run against its baseline: paired by sample id, judged by tolerance and by a bootstrap over identities.

A change counts where both hold: it is larger than the tolerance, and a 95 % interval of the mean paired difference,
with whole identities drawn (:mod:`avatarbench.tables.bootstrap`), does not hold zero. The first alone would fire on
noise of few samples, the second on a change that nobody would see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from avatarbench.gate import provenance
from avatarbench.gate.baseline import COVERAGE, EVERY, Baseline, MetricPart, SetValue, Spread
from avatarbench.gate.tolerance import default
from avatarbench.gate.verdict import Finding, Outcome, Row, Verdict
from avatarbench.statistics import Value
from avatarbench.tables.bootstrap import interval, totals

SAFETY = 2
"""Tolerance where re-runs were measured: this many times the largest difference of any two of them."""


def check(now: Baseline, then: Baseline, path: str) -> Verdict:
    """``now`` against the baseline ``then`` of the file ``path``. Raises UsageError where nothing can be compared."""
    provenance.require_comparable(now, then)
    contract = list(provenance.of_protocol(now, then))
    samples = list(provenance.of_samples(now, then))
    findings = contract + samples
    otherwise = "; ".join(f.message for f in findings if f.kind != "samples")
    methods, metrics = {m.id: m for m in now.methods}, {m.id: m for m in now.metrics}
    defined: dict[str, list[Finding]] = {k.id: list(provenance.of_metric(metrics.get(k.id), k)) for k in then.metrics}
    ran = {m.id: [f for f in provenance.of_method(methods.get(m.id), m) if f.fails] for m in then.methods}
    for method in then.methods:
        findings += provenance.of_method(methods.get(method.id), method)
    for of_metric in defined.values():
        findings += of_metric
    findings += [*provenance.additions(now, then), *provenance.of_environment(now, then)]
    rows = []
    for method in then.methods:
        for metric in then.metrics:
            faults = [*ran[method.id], *defined[metric.id]]
            if method.unavailable or metric.unavailable:
                why = method.unavailable or metric.unavailable or ""
                rows.append(Row(method.id, metric, "absent", message=f"the baseline has none: {why}"))
            elif otherwise or faults:
                gone = metric.id not in now.values.get(method.id, {}) and metric.id not in now.sets.get(method.id, {})
                why = otherwise or "; ".join(f.message for f in faults)
                rows.append(Row(method.id, metric, "unmeasured" if gone else "changed", message=why))
            else:
                rows.append(_row(now, then, method.id, metric))
    return Verdict(now.run, path, then.run, then.protocol.id, tuple(findings), tuple(rows))


def _row(now: Baseline, then: Baseline, method: str, metric: MetricPart) -> Row:
    if metric.kind == "pair":
        before, after = then.column(method, metric.id), now.column(method, metric.id)
        if before is None or after is None:
            return Row(method, metric, "unmeasured", message="no column of values on both sides")
        return pair_row(method, metric, before, after, then)
    return set_row(method, metric, then.sets[method][metric.id], now.sets[method][metric.id], now, then)


def pair_row(
    method: str, metric: MetricPart, before: Mapping[str, Value], after: Mapping[str, Value], then: Baseline
) -> Row:
    """Values by sample id. Samples that one side lacks altogether are counted by :mod:`.provenance`, not here."""
    shared = [s for s in before if s in after]
    lost = [s for s in shared if before[s].valid and not after[s].valid]
    gained = [s for s in shared if after[s].valid and not before[s].valid]
    both = [s for s in shared if before[s].valid and after[s].valid]
    valid_then = sum(before[s].valid for s in shared)
    allowed = allowed_loss(then, method, metric.id, len(shared))
    told = _coverage(lost, gained, after)
    is_lost = len(lost) - len(gained) > allowed
    row = Row(
        method, metric, "same", paired=len(both), valid_then=valid_then, valid_now=len(both) + len(gained), message=told
    )
    if not both:
        return replace(
            row, outcome="lost" if is_lost else "same", message=told or "no sample has a value on either side"
        )
    sources = then.sources()
    differences = {s: Value(after[s].value - before[s].value) for s in both}
    was, is_now = (math.fsum(column[s].value for s in both) / len(both) for column in (before, after))
    change = math.fsum(v.value for v in differences.values()) / len(both)
    spread = interval(totals(differences, both, sources))
    tolerance = tolerated(then, method, metric, was)
    outcome, why = judge(change, tolerance, metric, None if spread is None else (spread.low, spread.high))
    return replace(
        row,
        outcome="lost" if is_lost and outcome != "regressed" else outcome,
        baseline=was,
        now=is_now,
        change=change,
        tolerance=tolerance,
        low=None if spread is None else spread.low,
        high=None if spread is None else spread.high,
        identities=len({sources[s] for s in both}),
        message="; ".join(filter(None, (why, told))),
    )


def set_row(method: str, metric: MetricPart, before: SetValue, after: SetValue, now: Baseline, then: Baseline) -> Row:
    """A set has one value and no interval: the tolerance alone decides, over sets of equal size."""
    row = Row(method, metric, "same", valid_then=before.n, valid_now=after.n)
    references = next(m.reference_frames for m in now.metrics if m.id == metric.id)
    if before.value is None:
        return replace(row, outcome="absent", message=f"the baseline has none: {before.reason}")
    if after.value is None or before.n - after.n > allowed_loss(then, method, metric.id, before.n):
        return replace(row, outcome="lost", message=f"N was {before.n}, is {after.n}" + _because(after))
    if references != metric.reference_frames:
        told = f"{references} reference frames, the baseline had {metric.reference_frames}"
        return replace(row, outcome="changed", message=told)
    row = replace(row, baseline=before.value, now=after.value)
    if before.n != after.n:
        return replace(row, message=f"not compared: it moves with N, which was {before.n} and is {after.n}")
    change, tolerance = after.value - before.value, tolerated(then, method, metric, before.value)
    outcome, why = judge(change, tolerance, metric, None)
    return replace(row, outcome=outcome, change=change, tolerance=tolerance, paired=after.n, message=why)


def judge(
    change: float, tolerance: float, metric: MetricPart, between: tuple[float, float] | None
) -> tuple[Outcome, str]:
    """The outcome of a change by its size and by its interval; without an interval the tolerance alone decides."""
    if abs(change) <= tolerance:
        return "same", ""
    worse = (change > 0) == (metric.better == "lower")
    size = f"{'worse' if worse else 'better'} by {abs(change):.4g}, tolerance {tolerance:.4g}"
    if between is None:
        why = "a set has no interval" if metric.kind == "set" else "one identity has no interval"
        return ("regressed" if worse else "improved"), f"{size}; the tolerance alone decides, since {why}"
    low, high = between
    if low <= 0 <= high:
        return "unsure", f"{size}, but the interval [{low:.4g}, {high:.4g}] over identities holds zero"
    return ("regressed" if worse else "improved"), f"{size}, interval [{low:.4g}, {high:.4g}]"


def tolerated(then: Baseline, method: str, metric: MetricPart, mean: float) -> float:
    """What the baseline file says of the method, or of every method; else the default or what re-runs ask for."""
    for name in (method, EVERY):
        if metric.id in then.tolerances.get(name, {}):
            return then.tolerances[name][metric.id]
    return max(default(metric.id, metric.digits).of(mean), SAFETY * _spread(then, method, metric.id).mean)


def allowed_loss(then: Baseline, method: str, metric: str, n: int) -> int:
    """How many samples may lose their value, net of those that gain one."""
    for name in (method, EVERY):
        if COVERAGE in then.tolerances.get(name, {}):
            return math.floor(then.tolerances[name][COVERAGE] * n + 1e-9)  # 0.29 of 100 is 28.999999999999996
    return SAFETY * _spread(then, method, metric).valid


def _spread(then: Baseline, method: str, metric: str) -> Spread:
    return then.spread.get(method, {}).get(metric) or Spread()


def _coverage(lost: list[str], gained: list[str], after: Mapping[str, Value]) -> str:
    told = []
    if lost:
        told.append(f"{len(lost)} samples lost their value ({lost[0]}: {after[lost[0]].reason or 'not finite'})")
    if gained:
        told.append(f"{len(gained)} samples gained one ({gained[0]})")
    return ", ".join(told)


def _because(value: SetValue) -> str:
    return f": {value.reason}" if value.reason else ""
