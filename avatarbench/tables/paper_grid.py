"""The layout of a paper's table beside ours: published, measured and difference, each ranked and headed for itself."""

from __future__ import annotations

from collections.abc import Iterator

from avatarbench.statistics import printed
from avatarbench.tables.grid import BELOW_COVERAGE, Entry, Grid, Label, entry, flags, group_title, of_columns
from avatarbench.tables.model import heading
from avatarbench.tables.paper import Column, PaperTable
from avatarbench.tables.paper_notes import notes
from avatarbench.tables.published_grid import UNPRINTED, published_columns

OUTSIDE = "n/a (not in the paper)"
UNKNOWN = "?"
"""Behind the heading of a difference between figures that may be defined apart."""


def lay_out(table: PaperTable) -> Grid:
    """The paper's columns of a task, then ours of that task, then what lies between where that can be said."""
    headings, columns = published_columns(table.layout, table.rows)
    columns = [[*entries, *([Entry(OUTSIDE)] * len(table.also))] for entries in columns]
    for task in table.layout.tasks:
        of_task = [c for c in table.columns if c.task == task]
        at = 1 + max(i for i, h in enumerate(headings) if h.group.endswith(f", {task}"))
        more = [*_measured(table, of_task), *_differences(table, of_task)]
        headings[at:at] = [label for label, _ in more]
        columns[at:at] = [entries for _, entries in more]
    labels = [*_labels(table)]
    return of_columns(title(table), table.layout.corner, labels, headings, columns, tuple(notes(table)))


def title(table: PaperTable) -> str:
    """The caption. It says where what was measured is not what the paper measured."""
    parts = [f"{table.layout.title}: as published and as measured"]
    groups = table.ours.groups if table.ours else ()
    parts += [f"{g.protocol.id} on data: {g.protocol.data}" for g in groups if g.protocol.data]
    parts += [f"not the whole protocol in run {run}: {', '.join(asked)}" for run, asked in table.cuts.items()]
    return "; ".join(parts)


def _labels(table: PaperTable) -> Iterator[Label]:
    by_id = {r.id: r for r in table.ours.rows} if table.ours else {}
    for method, name in table.layout.rows:
        yield Label(name + (flags(by_id[method]) if method in by_id else ""))
    for row in (by_id[method] for method in table.also):
        yield Label(row.name + flags(row), "not in the paper's table", row.bound)


def _measured(table: PaperTable, columns: list[Column]) -> Iterator[tuple[Label, list[Entry]]]:
    for column in columns:
        data = group_title(column.group) if column.group else table.home(column)
        entries = [_entry(table, column, m) for m in table.methods]
        yield Label(heading(column.spec), f"measured: {data}"), entries


def _entry(table: PaperTable, column: Column, method: str) -> Entry:
    cell = column.cell(method)
    if table.ours is None or column.scored is None or cell is None:
        return Entry(f"n/a ({column.empty or 'not run'})")
    bound = any(r.id == method and r.bound for r in table.ours.rows)
    return entry(cell, table.ours.decimals(column.scored), bound, table.ours.intervals)


def _differences(table: PaperTable, columns: list[Column]) -> Iterator[tuple[Label, list[Entry]]]:
    for column in (c for c in columns if table.compared(c)):
        doubt = UNKNOWN if column.beside.level == "definition unknown" else ""
        entries = [_difference(table, column, m) for m in table.methods]
        yield Label(f"Δ {column.spec.name}{doubt}", f"measured − published: {table.home(column)}"), entries


def _difference(table: PaperTable, column: Column, method: str) -> Entry:
    value, cell = table.placed.get((method, column.task, column.paper)), column.cell(method)
    if value is None:
        return Entry(OUTSIDE if method in table.also else UNPRINTED)
    found = table.difference(column, method)
    if found is None or cell is None:
        return _entry(table, column, method)
    text = printed(found, value.digits).replace("-", "−")
    sign = "" if text.startswith("−") or not float(printed(found, value.digits)) else "+"
    return Entry(sign + text + (BELOW_COVERAGE if cell.below_coverage else ""))
