"""The table for a terminal: best in bold green, second underlined, bounds in dim italics."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from avatarbench.tables.grid import Entry, Grid, lay_out
from avatarbench.tables.model import Table

WIDEST = 160
"""Columns beyond which a table is turned even where nothing wraps (piped output)."""

STYLES = {"best": "bold green", "second": "underline"}


def renderable(table: Table, console: Console) -> RenderableType:
    """Methods as rows where that fits the console and :data:`WIDEST`, else metrics as rows, which is narrow."""
    return fitting(lay_out(table), lay_out(table, transpose=True), console)


def fitting(wide: Grid, turned: Grid, console: Console) -> RenderableType:
    """``wide`` where it fits the console and :data:`WIDEST`, else ``turned``; with its notes."""
    width = Measurement.get(console, console.options.update(max_width=10_000), draw(wide)).maximum
    return with_notes(wide if width <= min(console.width, WIDEST) else turned)


def with_notes(grid: Grid) -> RenderableType:
    """The grid and, dimmed, its notes."""
    return Group(draw(grid), *(Text(note, style="dim") for note in grid.notes))


def draw(grid: Grid) -> RichTable:
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
        drawn.add_row(Text(line.label.text, style=_italic(line.label.italic)), *(_entry(e) for e in line.entries))
    return drawn


def _entry(entry: Entry) -> Text:
    style = STYLES[entry.mark] if entry.mark else _italic(entry.italic)
    return Text.assemble((entry.text, style))  # a span: a style of the whole Text would underline the padding too


def _italic(italic: bool) -> str:
    return "dim italic" if italic else ""
