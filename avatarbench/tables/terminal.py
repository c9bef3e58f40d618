"""The table for a terminal: best and second marked, bounds in dim italics."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from avatarbench.statistics import Mark
from avatarbench.tables.grid import Entry, Grid, lay_out, turned
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
    width = Measurement.get(console, console.options.update(max_width=10_000), draw(wide)).maximum
    return with_notes(wide if width <= min(console.width, WIDEST) else turned(wide), style)


def with_notes(grid: Grid, style: Style = "bold") -> RenderableType:
    """The grid and, dimmed, its notes."""
    return Group(draw(grid, style), *(Text(note, style="dim") for note in grid.notes))


def draw(grid: Grid, style: Style = "bold") -> RichTable:
    """``grid`` as a rich table."""
    drawn = RichTable(box=box.SIMPLE_HEAD, title=grid.title, title_justify="left", title_style="bold")
    drawn.add_column(grid.corner, no_wrap=True)
    grouped = len({c.group for c in grid.columns}) > 1
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
