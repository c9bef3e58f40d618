"""Consoles and rich tables as list, show and table print them."""

from __future__ import annotations

import sys

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 10_000
"""Wide enough that no line of piped output wraps, so that grep finds whole rows."""

STATUS_STYLES = {
    "reproduced": "bold green",
    "working": "green",
    "unverified": "yellow",
    "unavailable": "red",
    "broken": "bold red",
}


def stdout_console() -> Console:
    """Standard output: as wide as the terminal, or never wrapping when piped."""
    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False)


def plain_table(*columns: str) -> Table:
    """A table whose first column is never wrapped: it holds the id that a user copies."""
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0, overflow="fold")
    return table


def missing_text(missing: list[str]) -> Text:
    """What is missing here, or a tick."""
    return Text(", ".join(missing), style="yellow") if missing else Text("nothing", style="green")


def status_text(status: str) -> Text:
    return Text(status, style=STATUS_STYLES.get(status, ""))
