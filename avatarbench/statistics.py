"""From per-frame values to the table's figures: own means, the common set, the headline, the ranking.

Values are keyed by sample id, never by position. An empty mean is NaN with a reason; zero is never a filler.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from avatarbench.errors import DataError
from avatarbench.run.record import MethodRecord, MetricRecord, Result

if TYPE_CHECKING:
    import pyarrow as pa

COVERAGE = 0.95
"""A method with fewer of its frames valid stays out of the common set and of the ranking."""

Mark = Literal["best", "second"]


@dataclass(frozen=True)
class Value:
    """One sample under one metric: NaN carries ``reason``."""

    value: float
    reason: str | None = None

    @property
    def valid(self) -> bool:
        """Finite. An infinity would swallow every mean it enters, so it counts as unscored."""
        return math.isfinite(self.value)


Values = Mapping[tuple[str, str], Mapping[str, Value]]
"""(method id, metric id) -> sample id -> value."""


def values_of(samples: pa.Table | Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Value]]:
    """The rows of ``samples.parquet`` by (method, metric), then by sample id. Raises DataError on a repeated sample."""
    names = ("method", "metric", "sample", "value", "reason")
    rows: Iterable[tuple[Any, ...]]
    if hasattr(samples, "column"):  # an Arrow table; pyarrow itself need not be imported for that
        rows = zip(*(samples.column(n).to_pylist() for n in names), strict=True)
    else:
        rows = (tuple(row[n] for n in names) for row in samples)
    found: dict[tuple[str, str], dict[str, Value]] = {}
    for method, metric, sample, value, reason in rows:
        column = found.setdefault((method, metric), {})
        if sample in column:
            raise DataError(f"sample '{sample}' has two values of '{metric}' for '{method}': score the run again.")
        column[sample] = Value(value, reason)
    return found


def eligible(n_valid: int, n_total: int) -> bool:
    """Whether a coverage of ``n_valid / n_total`` takes part in the common set and in the ranking."""
    return n_total > 0 and n_valid >= COVERAGE * n_total


def common_set(columns: Mapping[str, Mapping[str, Value]], n_total: int) -> frozenset[str] | None:
    """Samples valid for every eligible method of one metric; None where no method is eligible.

    ``columns`` is method id -> sample id -> value. Bounds count like any other method.
    """
    valid = [frozenset(s for s, v in column.items() if v.valid) for column in columns.values()]
    taking_part = [samples for samples in valid if eligible(len(samples), n_total)]
    return frozenset.intersection(*taking_part) if taking_part else None


def summarise(
    values: Values,
    methods: Sequence[MethodRecord],
    metrics: Sequence[MetricRecord],
    n_total: int,
    sets: Iterable[Result] = (),
) -> list[Result]:
    """One :class:`Result` a method and metric, in the order given, over the ``n_total`` samples of one protocol.

    A pair metric's ``value`` is the mean over the common set; a method below :data:`COVERAGE` gets its own mean, and
    its ``n_common`` is its ``n_valid``; so does what only stands in for a method, and no common set knows of it. A set
    metric is no mean: its results are handed in as ``sets`` and passed on.
    """
    given = {(r.method, r.metric): r for r in sets}
    results = []
    for metric in metrics:
        columns = {m.id: values.get((m.id, metric.id), {}) for m in methods}
        compared = {m.id: columns[m.id] for m in methods if not m.stands_in}
        common = common_set(compared, n_total) if metric.kind == "pair" else None
        for method in methods:
            why = method.unavailable or metric.unavailable
            if metric.kind == "pair":
                column = columns[method.id]
                frames = common_set({method.id: column}, n_total) if method.stands_in else common
                results.append(_pair_result(method.id, metric.id, column, frames, n_total, why))
            else:
                passed = given.get((method.id, metric.id))
                results.append(passed or set_result(method.id, metric.id, math.nan, 0, n_total, why or "not scored"))
    order = {m.id: i for i, m in enumerate(methods)}
    return sorted(results, key=lambda r: order[r.method])  # stable: metrics keep their order within a method


def set_result(
    method: str,
    metric: str,
    own: float,
    n: int,
    n_total: int,
    reason: str | None,
    common: tuple[float, int] | None = None,
) -> Result:
    """The result of a set metric over ``n`` predictions, and over the ``common`` ones (value, count) where they differ.

    A value that is not finite becomes NaN and needs a reason.
    """
    value, n_common = (own, n) if common is None else common
    if not math.isfinite(value):
        value, reason = math.nan, reason or f"the value is {value}"
    own = own if math.isfinite(own) else math.nan
    return Result(
        method=method, metric=metric, value=value, own=own, n_valid=n, n_total=n_total, n_common=n_common, reason=reason
    )


def _pair_result(
    method: str, metric: str, column: Mapping[str, Value], common: frozenset[str] | None, n_total: int, why: str | None
) -> Result:
    valid = sorted(s for s, v in column.items() if v.valid)
    frames = sorted(common or ()) if eligible(len(valid), n_total) else valid
    reason = None
    if not valid:
        reason = why or _why_none(column, n_total)
    elif not frames:
        reason = "no frame is valid for every method"
    return Result(
        method=method,
        metric=metric,
        value=_mean(column, frames),
        own=_mean(column, valid),
        n_valid=len(valid),
        n_total=n_total,
        n_common=len(frames),
        reason=reason,
    )


def _mean(column: Mapping[str, Value], samples: Sequence[str]) -> float:
    """Mean over sorted sample ids, so that the last bit does not depend on the order of the rows."""
    return float(np.mean(np.array([column[s].value for s in samples], np.float64))) if samples else math.nan


def _why_none(column: Mapping[str, Value], n_total: int) -> str:
    if n_total == 0:
        return "the protocol has no samples"
    if not column:
        return "not scored"
    reasons = Counter(v.reason or f"the value is {v.value}" for v in column.values())
    reason, count = min(reasons.items(), key=lambda item: (-item[1], item[0]))
    return f"{reason} ({count} of {len(column)} frames)" if len(reasons) > 1 else reason


def printed(value: float, digits: int) -> str:
    """``value`` with ``digits`` decimals, without a negative zero."""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def rank(values: Mapping[str, float], better: Literal["lower", "higher"], digits: int) -> dict[str, Mark]:
    """Best and second by printed value, so that ties at the printed precision share the mark.

    ``values`` holds ranked methods only: no bounds, none below :data:`COVERAGE`. NaN is never ranked. A method
    alone has nobody to be better than: fewer than two finite values give no mark.
    """
    rounded = {m: float(printed(v, digits)) for m, v in values.items() if math.isfinite(v)}
    if len(rounded) < 2:
        return {}
    steps = sorted(set(rounded.values()), reverse=better == "higher")
    marks: dict[float, Mark] = dict(zip(steps, ("best", "second"), strict=False))
    return {m: marks[v] for m, v in rounded.items() if v in marks}
