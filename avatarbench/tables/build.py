"""Run folders in, one :class:`Table` out. Runs that do not compare are refused with both values named."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from avatarbench.errors import DataError, UsageError
from avatarbench.protocol import FRAMES
from avatarbench.registry import suggest
from avatarbench.run.record import MethodRecord, MetricRecord, Result, RunRecord, read_samples
from avatarbench.statistics import Value, common_set, eligible, rank, summarise, values_of
from avatarbench.tables.bootstrap import totals
from avatarbench.tables.model import Cell, Group, Row, Table
from avatarbench.tables.options import command

CONFIGURATION = ("factory", "repository", "commit", "environment")
"""Fields of a method's spec that make it another method, where they differ."""

PLACES = ("repo", "weights", "python", "backend", "flame_file")
"""Options of official code that say where it lies here, not what it is: its commit and its weights' hashes do that, as
hashes do for any option that names weights."""


@dataclass(frozen=True)
class Run:
    """A finished run as read from its folder. ``sources`` is sample id -> source sequence, the identity.

    ``left_out``: which methods of it have no place in any table and why, a sentence; empty where all have.
    """

    record: RunRecord
    values: dict[tuple[str, str], dict[str, Value]]
    sources: dict[str, str]
    left_out: str = ""


def load_run(folder: Path) -> Run:
    """Read one run folder, without what only stands in for a method. Raises DataError for a folder that is no run, is
    damaged or was never finished."""
    record = RunRecord.load(folder)
    if record.status in ("running", "interrupted") or not record.results:
        again = record.command if record.protocol.id == FRAMES else ["avatarbench", "run", "--resume", str(folder)]
        verb = "repeat it" if record.protocol.id == FRAMES else "finish it"
        raise DataError(
            f"run {record.id} in {folder} is {record.status} and has no results: {verb} with: {shlex.join(again)}"
        )
    samples = read_samples(folder)
    sources = dict(zip(samples.column("sample").to_pylist(), samples.column("source").to_pylist(), strict=True))
    return _real(Run(record, values_of(samples), sources))


def _real(run: Run) -> Run:
    """The run without its stand-ins. Every table is made from what this leaves."""
    gone = {m.id: m.name for m in run.record.methods if m.stands_in}
    if not gone:
        return run
    record = run.record.model_copy(
        update={
            "methods": [m for m in run.record.methods if m.id not in gone],
            "results": [r for r in run.record.results if r.method not in gone],
        }
    )
    values = {key: column for key, column in run.values.items() if key[0] not in gone}
    why = f"left out, since what ran only stands in for a method: {', '.join(gone.values())}"
    return Run(record, values, run.sources, why)


def build(
    runs: Sequence[Run], metrics: Sequence[str] = (), digits: int | None = None, intervals: bool = False
) -> Table:
    """The table of one or more runs; ``metrics`` keeps only these ids, in this order.

    A method may stand in several runs of one protocol only where they agree on every value (a floor that accompanies
    each run, say); it is then one row. Raises UsageError where runs disagree, naming both.
    """
    if not runs:
        raise UsageError("a table needs at least one run.")
    ids = [r.record.id for r in runs]
    if twice := [i for i in ids if ids.count(i) > 1]:
        raise UsageError(f"run {twice[0]} was given twice.")
    _check_protocols(runs)
    chosen = _choose(runs, metrics)
    _check_metrics(runs, chosen)
    _check_methods(runs)
    by_protocol: dict[str, list[Run]] = {}
    for run in runs:
        by_protocol.setdefault(run.record.protocol.id, []).append(run)
    order: list[str] = list(dict.fromkeys(m.id for run in runs for m in run.record.methods))
    groups = [_group(members, order, chosen, digits) for members in by_protocol.values()]
    groups = [g for g in groups if g.metrics]
    groups.sort(key=lambda g: g.protocol.task != "self")
    notes = [f"run {r.record.id}: {note}" for r in runs for note in _notes(r)]
    rows = [_row(m, groups) for m in order if any(m in g.methods for g in groups)]
    return Table(tuple(rows), tuple(groups), digits, tuple(notes), intervals)


def _choose(runs: Sequence[Run], wanted: Sequence[str]) -> list[str]:
    known = list(dict.fromkeys(m.id for run in runs for m in run.record.metrics))
    for metric in wanted:
        if metric not in known:
            raise UsageError(f"no run given has the metric '{metric}'{suggest(metric, known)}")
    return list(dict.fromkeys(wanted)) or known


def _notes(run: Run) -> list[str]:
    record, partial = run.record, []
    if record.status == "partial":
        failed = [f"{m.name} {m.failures}" for m in record.methods if m.failures]
        partial = ["partial" + (f"; frames or avatars that failed: {', '.join(failed)}" if failed else "")]
    return [*filter(None, [run.left_out]), *partial, *record.notes]


def _check_metrics(runs: Sequence[Run], chosen: Sequence[str]) -> None:
    first: dict[str, tuple[RunRecord, MetricRecord]] = {}
    for run in runs:
        for metric in (m for m in run.record.metrics if m.id in chosen):
            other, known = first.setdefault(metric.id, (run.record, metric))
            for what, a, b in (("version", known.version, metric.version), ("assets", known.assets, metric.assets)):
                if a != b and not (what == "assets" and (known.unavailable or metric.unavailable)):
                    old = other if what == "assets" or known.version < metric.version else run.record
                    raise UsageError(
                        f"metric '{metric.id}' has {what} {a} in run {other.id} and {b} in run {run.record.id}, which "
                        f"do not compare. Repeat run {old.id} with: {command(old)}\n"
                        "Or leave the metric out: --metrics takes those to show."
                    )


def configuration(method: MethodRecord) -> dict[str, Any]:
    """What makes it another method, where it differs: its options, and whose code and weights it ran. An older record
    has no weights here."""
    found = {"options": method.options} | {k: method.spec.get(k) for k in CONFIGURATION}
    if method.origin:
        weights = method.origin.get("weights", {})
        found["options"] = {k: v for k, v in method.options.items() if k not in (*PLACES, *weights)}
        found["weights"] = {name: held.get("sha256") for name, held in weights.items()}
        if "commit" in method.origin:
            found["commit"] = method.origin["commit"]
    return found


def _check_methods(runs: Sequence[Run]) -> None:
    first: dict[tuple[str, str], tuple[RunRecord, Any]] = {}
    for run in runs:
        for method in run.record.methods:
            for what, b in configuration(method).items():
                other, a = first.setdefault((method.id, what), (run.record, b))
                if a != b:
                    raise UsageError(
                        f"method '{method.id}' has {what} {a!r} in run {other.id} and {b!r} in run "
                        f"{run.record.id}: a row shows one configuration, so make two tables."
                    )


def _check_protocols(runs: Sequence[Run]) -> None:
    by_id: dict[str, list[RunRecord]] = {}
    for run in runs:
        by_id.setdefault(run.record.protocol.id, []).append(run.record)
    for records in by_id.values():
        for a, b in pairwise(records):
            for what in ("version", "size", "pairs", "manifest"):
                x, y = getattr(a.protocol, what), getattr(b.protocol, what)
                if x == y:
                    continue
                remedy = "Make two tables, or run both on the same frames."
                if what == "version":
                    old = a if x < y else b
                    remedy = f"Repeat run {old.id} with: {command(old)}\nOr make two tables."
                raise UsageError(
                    f"runs {a.id} and {b.id} do not compare: '{a.protocol.id}' has {what} {x} in the first "
                    f"and {y} in the second. {remedy}"
                )


def _group(runs: Sequence[Run], order: Sequence[str], chosen: Sequence[str], digits: int | None) -> Group:
    protocol = runs[0].record.protocol
    metrics = {m.id: m for run in reversed(runs) for m in run.record.metrics}
    # The first run that could score a metric, or run a method, speaks for it: not one that lacked its weights.
    metrics |= {m.id: m for run in reversed(runs) for m in run.record.metrics if m.unavailable is None}
    methods = {m.id: m for run in reversed(runs) for m in run.record.methods}
    methods |= {m.id: m for run in reversed(runs) for m in run.record.methods if m.unavailable is None}
    columns = [metrics[m] for m in chosen if m in metrics]
    rows = [methods[m] for m in order if m in methods]
    values, sets, came_from = _merge(runs)
    results = {(r.method, r.metric): r for r in summarise(values, rows, columns, protocol.pairs, sets)}
    sources = {sample: source for run in runs for sample, source in run.sources.items()}
    cells: dict[tuple[str, str], Cell] = {}
    for metric in columns:
        by_method = {m.id: values.get((m.id, metric.id), {}) for m in rows}
        common = common_set(by_method, protocol.pairs) or frozenset()
        ranked = _ranked(results, rows, metric)
        marks = rank(ranked, metric.better, metric.digits if digits is None else digits)
        for method in order:
            if method not in methods:
                result = _absent(method, metric.id, protocol.pairs, "not run")
            else:
                result = results[method, metric.id]
            column = by_method.get(method, {})
            valid = frozenset(s for s, v in column.items() if v.valid)
            frames = common if eligible(len(valid), protocol.pairs) else valid
            run = came_from.get((method, metric.id))
            spread = totals(column, frames, sources)
            cells[method, metric.id] = Cell(result, marks.get(method), method in ranked, run, spread)
    ids = tuple(r.record.id for r in runs)
    return Group(protocol, ids, tuple(columns), {m.id: m for m in rows}, cells)


def _ranked(
    results: dict[tuple[str, str], Result], rows: Sequence[MethodRecord], metric: MetricRecord
) -> dict[str, float]:
    found = {}
    for method in rows:
        result = results[method.id, metric.id]
        if method.role == "method" and eligible(result.n_valid, result.n_total) and math.isfinite(result.value):
            found[method.id] = result.value
    return found


def _absent(method: str, metric: str, n_total: int, reason: str) -> Result:
    nan = math.nan
    return Result(
        method=method, metric=metric, value=nan, own=nan, n_valid=0, n_total=n_total, n_common=0, reason=reason
    )


def _merge(
    runs: Sequence[Run],
) -> tuple[dict[tuple[str, str], dict[str, Value]], list[Result], dict[tuple[str, str], str]]:
    """Values and set results of runs of one protocol, and the run that each column of values came from."""
    values: dict[tuple[str, str], dict[str, Value]] = {}
    sets: dict[tuple[str, str], Result] = {}
    came_from: dict[tuple[str, str], str] = {}
    for run in runs:
        of_set = {m.id for m in run.record.metrics if m.kind == "set" and m.unavailable is None}
        for result in (r for r in run.record.results if r.metric in of_set):
            key = (result.method, result.metric)
            known = sets.setdefault(key, result)
            here = came_from.setdefault(key, run.record.id)
            if not _same(known.value, result.value) or known.n_valid != result.n_valid:
                raise _conflict(key, here, run.record.id, f"{known.value}", f"{result.value}")
        for key, column in run.values.items():
            kept = values.setdefault(key, column)
            here = came_from.setdefault(key, run.record.id)
            for sample in kept.keys() | column.keys():
                a, b = (c.get(sample, Value(math.nan)).value for c in (kept, column))
                if not _same(a, b):
                    raise _conflict(key, here, run.record.id, f"{a} at {sample}", f"{b}")
    return values, list(sets.values()), came_from


def _same(a: float, b: float) -> bool:
    """Equal up to what another batch size or number of threads does to float32."""
    return math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b))


def _conflict(key: tuple[str, str], first: str, second: str, a: str, b: str) -> UsageError:
    return UsageError(
        f"method '{key[0]}' stands in runs {first} and {second} with different values of '{key[1]}' "
        f"({a} and {b}): give only one of the two runs."
    )


def _row(method: str, groups: Sequence[Group]) -> Row:
    records = [(g.protocol.id, g.methods[method]) for g in groups if method in g.methods]
    return Row(
        id=method,
        name=records[0][1].name,
        bound=records[0][1].role == "bound",
        sees_views=any("views" in m.spec.get("needs", ()) for _, m in records),
        tracker_is_judge=tuple(dict.fromkeys(j for _, m in records for j in m.tracker_is_judge)),
        in_domain=tuple(p for p, m in records if m.in_domain),
    )
