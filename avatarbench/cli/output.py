"""Consoles and rich tables as list, show and table print them."""

from __future__ import annotations

import re
import sys
from typing import Any

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


class _Piped(Console):
    """Never wraps, and leaves out the spaces with which a table fills its last column up to its longest cell."""

    def print(self, *objects: Any, **options: Any) -> None:
        with self.capture() as printed:
            super().print(*objects, **options)
        try:
            self.file.write(re.sub(r" +$", "", printed.get(), flags=re.MULTILINE))
            self.file.flush()  # before what is written to stderr next
        except BrokenPipeError:
            self.on_broken_pipe()


def stdout_console() -> Console:
    """Standard output: as wide as the terminal, or, where it is piped, as wide as a line gets."""
    return Console(highlight=False) if sys.stdout.isatty() else _Piped(width=PIPED_WIDTH, highlight=False)


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
