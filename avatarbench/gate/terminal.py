"""The verdict for a person at a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from avatarbench.gate.verdict import Outcome, Row, Verdict

STYLES: dict[Outcome, str] = {
    "regressed": "bold red",
    "lost": "bold red",
    "changed": "red",
    "unmeasured": "red",
    "improved": "green",
    "unsure": "yellow",
    "absent": "dim",
}


def renderable(verdict: Verdict, console: Console) -> RenderableType:
    """A table of every metric of every method, what was found beside it, and the verdict last.

    Where the console is too narrow for whole figures, columns of :data:`LEFT_OUT` stay out: what is said of a row that
    failed below the table has them too.
    """
    table = _table(verdict, ())
    for dropped in LEFT_OUT:
        if Measurement.get(console, console.options.update(max_width=10_000), table).maximum <= console.width:
            break
        table = _table(verdict, dropped)
    notes = [Text(line, style="bold red" if fails else "dim") for fails, line in lines(verdict)]
    return Group(table, *notes, Text(verdict.headline(), style="bold red" if verdict.failed else "bold green"))


def _table(verdict: Verdict, dropped: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"{verdict.run} against {verdict.path}", title_justify="left")
    kept = [at for at, (name, _) in enumerate(COLUMNS) if name not in dropped]
    for name, right in (COLUMNS[at] for at in kept):
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "Method", overflow="fold")
    previous = ""
    for row in verdict.rows:
        if previous not in ("", row.method):
            table.add_section()
        previous = row.method
        *figures, outcome = (cells(row)[at] for at in kept)
        table.add_row(*figures, Text(outcome, style=STYLES.get(row.outcome, "")))
    return table


COLUMNS = (
    ("Method", False),
    ("Metric", False),
    ("Baseline", True),
    ("Now", True),
    ("Change", True),
    ("Tolerance", True),
    ("95 % interval", True),
    ("Samples", True),
    ("", False),
)
"""Heading, and whether the column holds figures."""

LEFT_OUT = (("95 % interval",), ("95 % interval", "Tolerance"), ("95 % interval", "Tolerance", "Samples"))
"""What a narrow terminal does without, in steps."""


def cells(row: Row) -> list[str]:
    """The row as text, in the order of :data:`COLUMNS`."""
    samples = f"{row.paired}" if row.valid_now == row.valid_then else f"{row.valid_now} (was {row.valid_then})"
    return [
        row.method,
        row.metric.name,
        row.text(row.baseline),
        row.text(row.now),
        row.text(row.change, signed=True),
        row.text(row.tolerance),
        row.between,
        samples if row.valid_then or row.valid_now else "",
        "" if row.outcome == "same" else row.outcome,
    ]


def lines(verdict: Verdict) -> list[tuple[bool, str]]:
    """Findings, then what is to be said of single rows; whether each fails. Failures first."""
    told = [(f.fails, f"{f.kind}: {f.message}") for f in verdict.findings]
    ours = {f.message for f in verdict.findings}
    told += [
        (r.fails, f"{r.method}, {r.metric.id}: {r.outcome}: {r.message}")
        for r in verdict.rows
        if r.message and not set(r.message.split("; ")) <= ours and r.outcome != "absent"
    ]
    return sorted(dict.fromkeys(told), key=lambda t: not t[0])
