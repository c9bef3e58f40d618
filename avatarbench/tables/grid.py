"""The printed table before any markup: headings, entries and footnotes, laid out once for every text renderer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avatarbench.statistics import Mark, printed
from avatarbench.tables.model import Cell, Group, Row, Table, heading
from avatarbench.tables.notes import footnotes, short_reason

BELOW_COVERAGE = "§"
TRACKER_IS_JUDGE = "†"
IN_DOMAIN = "‡"


@dataclass(frozen=True)
class Label:
    """The heading of a row or a column; neighbours of one ``group`` stand under its name."""

    text: str
    group: str = ""
    italic: bool = False


@dataclass(frozen=True)
class Entry:
    """One printed cell. ``italic`` marks a bound."""

    text: str
    mark: Mark | None = None
    italic: bool = False


@dataclass(frozen=True)
class Line:
    label: Label
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Grid:
    """``corner`` heads the column of row labels."""

    title: str
    corner: str
    columns: tuple[Label, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]


def row_label(row: Row, table: Table) -> str:
    """The method's name with its flags; its id is added where two methods share a name."""
    shared = sum(r.name == row.name for r in table.rows) > 1
    return (f"{row.name} ({row.id})" if shared else row.name) + flags(row)


def flags(row: Row) -> str:
    """What stands behind a name: a space and one or two daggers, or nothing."""
    found = (TRACKER_IS_JUDGE if row.tracker_is_judge else "") + (IN_DOMAIN if row.in_domain else "")
    return f" {found}" if found else ""


def entry(cell: Cell, digits: int, bound: bool, intervals: bool = False) -> Entry:
    """``0.123``, ``0.123 (57/59)`` where frames are missing, ``n/a (weights)`` where there is no value.

    With ``intervals`` ``0.123 [0.110, 0.140]``, where there is one.
    """
    result = cell.result
    if result.value != result.value:
        return Entry(f"n/a ({short_reason(result.reason)})", italic=bound)
    text = printed(result.value, digits) + (BELOW_COVERAGE if cell.below_coverage else "")
    if intervals and (known := cell.interval):
        text += f" [{printed(known.low, digits)}, {printed(known.high, digits)}]"
    if not cell.complete:
        text += f" ({result.n_valid}/{result.n_total})"
    return Entry(text, cell.mark, bound)


def lay_out(table: Table, transpose: bool = False) -> Grid:
    """Methods as rows and metrics as columns, as papers print it; ``transpose`` swaps them, for many metrics."""
    headings = [Label(heading(m), group_title(g)) for g in table.groups for m in g.metrics]
    labels = [Label(row_label(r, table), italic=r.bound) for r in table.rows]
    columns = [
        [entry(g.cells[r.id, m.id], table.decimals(m), r.bound, table.intervals) for r in table.rows]
        for g in table.groups
        for m in g.metrics
    ]
    title = "; ".join(dict.fromkeys(group_title(g) for g in table.groups))
    upright = of_columns(title, "Method", labels, headings, columns, footnotes(table))
    return turned(upright) if transpose else upright


def of_columns(
    title: str,
    corner: str,
    rows: Sequence[Label],
    headings: Sequence[Label],
    columns: Sequence[Sequence[Entry]],
    notes: Sequence[str],
) -> Grid:
    """A grid from its columns, each as long as ``rows``."""
    across = list(zip(*columns, strict=True)) if columns else [()] * len(rows)
    lines = tuple(Line(label, tuple(row)) for label, row in zip(rows, across, strict=True))
    return Grid(title, corner, tuple(headings), lines, tuple(notes))


def turned(grid: Grid, corner: str = "Metric") -> Grid:
    """Rows as columns and columns as rows; no cell and no note is lost."""
    columns = [line.entries for line in grid.lines]
    return of_columns(grid.title, corner, grid.columns, [line.label for line in grid.lines], columns, grid.notes)


def group_title(group: Group) -> str:
    """``openheads-self (N = 216)``; with the data where that is not what the protocol is named after."""
    mark = f", data: {group.protocol.data}" if group.protocol.data else ""
    return f"{group.protocol.id} (N = {group.protocol.pairs}{mark})"
