"""Footnotes: everything that a reader needs to judge the figures, said once below the table."""

from __future__ import annotations

import math
from collections.abc import Iterator

from avatarbench.run.record import MetricRecord
from avatarbench.statistics import COVERAGE
from avatarbench.tables.bootstrap import DRAWS, LEVEL
from avatarbench.tables.model import Group, Table

SHORT = 32
"""Characters of a reason that fit into a cell."""


def short_reason(reason: str | None) -> str:
    """A reason as a cell has room for it: up to its first colon or semicolon; the footnote has the rest."""
    text = (reason or "no reason recorded").strip()
    for stop in (":", ";", " ("):
        text = text.split(stop)[0]
    return text if len(text) <= SHORT else text[: SHORT - 1].rstrip() + "…"


def footnotes(table: Table) -> tuple[str, ...]:
    """The notes of ``table``, each a sentence, in a fixed order."""
    notes = [*_provenance(table), *_ranking(table), *_rows(table), *_intervals(table)]
    for group in table.groups:
        notes += _coverage(group)
        notes += _set_sizes(group)
    notes += _missing(table)
    return (*notes, *table.notes)


def _provenance(table: Table) -> Iterator[str]:
    for group in table.groups:
        p = group.protocol
        local = " (local)" if p.manifest_from else ""
        yield (
            f"{p.id}: version {p.version}, {p.task}-reenactment, {p.size} px, manifest {p.manifest[:12]}{local}, "
            f"{p.pairs} frames a method; {_plural('run', group.runs)}."
        )


def _ranking(table: Table) -> Iterator[str]:
    marks = {c.mark for g in table.groups for c in g.cells.values()}
    if marks - {None}:
        yield "Best and second best under each metric are marked; figures equal as printed share the mark."
    elif any(c.ranked for g in table.groups for c in g.cells.values()):
        yield "Only one method is ranked, so no best is marked."


def _rows(table: Table) -> Iterator[str]:
    if bounds := [r.name for r in table.rows if r.bound]:
        yield f"In italics, never ranked: {', '.join(bounds)} (a floor, a ceiling or a reference, not a method)."
    for row in table.rows:
        if row.sees_views:
            yield f"{row.name} is fitted on the person's own views from many sides, not on the portrait alone."
    for row in table.rows:
        if row.tracker_is_judge:
            yield f"† {row.name} is driven by the detector that judges {', '.join(row.tracker_is_judge)}."
    for row in table.rows:
        if row.in_domain:
            yield f"‡ {row.name} was trained on the family of the data of {', '.join(row.in_domain)}."
    if any(c.below_coverage for g in table.groups for c in g.cells.values()):
        yield f"§ Valid on less than {COVERAGE:.0%} of the frames: shown on its own frames, not ranked."


def _intervals(table: Table) -> Iterator[str]:
    if not table.intervals:
        return
    known = {(g.protocol.id, c.interval.identities) for g in table.groups for c in g.cells.values() if c.interval}
    for protocol, identities in sorted(known):
        yield (
            f"{protocol}: [low, high] is a {LEVEL:.0%} bootstrap interval over {identities} identities, "
            f"{DRAWS:,} draws."
        )
    if without := list(dict.fromkeys(m.name for g in table.groups for m in g.metrics if m.kind == "set")):
        yield f"No interval for {', '.join(without)}: a set has one value."
    if not known:
        yield "No interval for the rest: that takes two identities."


def _coverage(group: Group) -> Iterator[str]:
    """How many frames stand behind the pair metrics, where that is not all of them."""
    by_count: dict[int, list[str]] = {}
    for metric in (m for m in group.metrics if m.kind == "pair"):
        cells = [c for (_, m), c in group.cells.items() if m == metric.id]
        counts = {c.result.n_common for c in cells if c.result.n_valid and not c.below_coverage}
        for n in counts - {group.protocol.pairs}:
            by_count.setdefault(n, []).append(metric.name)
    for n, names in sorted(by_count.items(), reverse=True):
        of = f"{n} of {group.protocol.pairs}"
        yield f"{group.protocol.id}: {', '.join(names)} over the {of} frames valid for every method."


def _set_sizes(group: Group) -> Iterator[str]:
    by_size: dict[str, list[str]] = {}
    for metric in (m for m in group.metrics if m.kind == "set"):
        if size := _set_size(group, metric):
            by_size.setdefault(size, []).append(metric.name)
    for size, names in by_size.items():
        yield f"{group.protocol.id}: {', '.join(names)} over sets of {size}."


def _set_size(group: Group, metric: MetricRecord) -> str:
    counts = {
        group.methods[method].name: c.result.n_valid
        for (method, m), c in group.cells.items()
        if m == metric.id and method in group.methods and math.isfinite(c.result.value)
    }
    if not counts:
        return ""
    same = set(counts.values())
    predictions = f"N = {same.pop()}" if len(same) == 1 else ", ".join(f"N = {n} ({m})" for m, n in counts.items())
    real = "" if metric.reference_frames is None else f" against {metric.reference_frames} real frames"
    return f"{predictions} predictions{real}"


def _missing(table: Table) -> Iterator[str]:
    """What each ``n/a`` means, with the cells it stands in: whole columns by metric, whole rows by method.

    The protocol is named where the reason does not hold in all of the table's.
    """
    where: dict[str, dict[str, list[str]]] = {}
    names = {r.id: r.name for r in table.rows}
    for group in table.groups:
        ran = [m for m in names if m in group.methods and group.methods[m].unavailable is None]
        for metric in group.metrics:
            cells = {m: group.cells[m, metric.id].result for m in names}
            empty = {m: r.reason or "no reason recorded" for m, r in cells.items() if math.isnan(r.value)}
            column = {empty.get(m) for m in ran}
            for method, reason in empty.items():
                if method in ran and column == {reason}:
                    at = f"{metric.name}{_lacking(metric)}"
                elif method in ran:
                    at = f"{metric.name} of {names[method]}"
                else:
                    at = names[method]
                places = where.setdefault(reason, {}).setdefault(at, [])
                places += [group.protocol.id] if group.protocol.id not in places else []
    for reason, cells_of_reason in where.items():
        short = short_reason(reason)
        meaning = "" if short == reason else f" {reason};"
        said = [
            at if len(places) == len(table.groups) else f"{at} in {', '.join(places)}"
            for at, places in cells_of_reason.items()
        ]
        yield f"n/a ({short}):{meaning} {', '.join(said)}."


def _lacking(metric: MetricRecord) -> str:
    """Which assets a metric would have needed: ``(inception-2015 is not here)``."""
    absent = [a for a in metric.spec.get("assets", ()) if a not in metric.assets] if metric.unavailable else []
    return f" ({', '.join(absent)} {'are' if len(absent) > 1 else 'is'} not here)" if absent else ""


def _plural(noun: str, items: tuple[str, ...]) -> str:
    return f"{noun}{'s' if len(items) > 1 else ''} {', '.join(items)}"
