"""The table for a terminal: best and second marked, bounds in dim italics."""

from __future__ import annotations

from dataclasses import replace

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from avatarbench.statistics import Mark
from avatarbench.tables.grid import Entry, Grid, Line, lay_out, turned
from avatarbench.tables.marks import Style
from avatarbench.tables.model import Table

WIDEST = 160
"""Columns beyond which a table is turned even where nothing wraps (piped output)."""

STYLES: dict[Style, dict[Mark, str]] = {
    "bold": {"best": "bold green", "second": "underline"},
    "colour": {"best": "bold red", "second": "bold blue"},
}


def renderable(table: Table, console: Console, style: Style = "bold") -> RenderableType:
    """Methods as rows where that fits the console and :data:`WIDEST`, else metrics as rows, which is narrow."""
    return fitting(lay_out(table), console, style)


def fitting(wide: Grid, console: Console, style: Style = "bold") -> RenderableType:
    """``wide`` where it fits the console and :data:`WIDEST`, else turned; with its notes."""
    fits = _width(draw(wide), console) <= min(console.width, WIDEST)
    return with_notes(wide if fits else turned(wide), console, style)


def with_notes(grid: Grid, console: Console, style: Style = "bold") -> RenderableType:
    """The grid and, dimmed, its notes. Columns that do not fit the console together stand below each other."""
    return Group(*_parts(grid, console, style), *(Text(note, style="dim") for note in grid.notes))


def _parts(grid: Grid, console: Console, style: Style) -> list[RichTable]:
    """As many columns in each as the console has room for: a cut figure would read as another."""
    whole = draw(grid, style)
    if _width(whole, console) <= console.width:
        return [whole]
    grouped, last = len({c.group for c in grid.columns}) > 1, len(grid.columns)
    parts: list[RichTable] = []
    start = 0
    while start < last:
        end = start + 1
        while end < last and _width(draw(_columns(grid, start, end + 1), style, grouped), console) <= console.width:
            end += 1
        parts.append(draw(_columns(grid, start, end), style, grouped))
        start = end
    return parts or [whole]


def _columns(grid: Grid, start: int, end: int) -> Grid:
    """These columns alone; the title stands over the first."""
    lines = tuple(Line(line.label, line.entries[start:end]) for line in grid.lines)
    return replace(grid, title="" if start else grid.title, columns=grid.columns[start:end], lines=lines)


def _width(table: RichTable, console: Console) -> int:
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def draw(grid: Grid, style: Style = "bold", grouped: bool | None = None) -> RichTable:
    """``grid`` as a rich table. ``grouped``: the groups of columns are named; default: where there are several."""
    drawn = RichTable(box=box.SIMPLE_HEAD, title=grid.title or None, title_justify="left", title_style="bold")
    drawn.add_column(grid.corner, no_wrap=True)
    grouped = len({c.group for c in grid.columns}) > 1 if grouped is None else grouped
    previous = ""
    for column in grid.columns:
        name = Text(column.text, style="italic" if column.italic else "")
        if grouped:  # the group's name stands over the first of its columns
            name = Text(column.group if column.group != previous else "", style="bold cyan") + Text("\n") + name
            previous = column.group
        drawn.add_column(name, justify="right", no_wrap=True)
    group = ""
    for line in grid.lines:
        if line.label.group != group:
            drawn.add_section()
            group = line.label.group
            drawn.add_row(Text(group, style="bold cyan"))
        drawn.add_row(
            Text(line.label.text, style=_italic(line.label.italic)), *(_entry(e, style) for e in line.entries)
        )
    return drawn


def _entry(entry: Entry, style: Style) -> Text:
    look = STYLES[style][entry.mark] if entry.mark else _italic(entry.italic)
    return Text.assemble((entry.text, look))  # a span: a style of the whole Text would underline the padding too


def _italic(italic: bool) -> str:
    return "dim italic" if italic else ""
