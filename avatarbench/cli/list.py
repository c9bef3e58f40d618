"""``avatarbench list``: what is registered, and what of it can run here."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from avatarbench import registry
from avatarbench.cli.inventory import entries
from avatarbench.cli.output import PIPED_WIDTH, missing_text, plain_table, status_text, stdout_console
from avatarbench.errors import UsageError

Entry = dict[str, Any]
Cell = str | Text


def list_(
    kind: Annotated[str, typer.Argument(help="methods, protocols, metrics or datasets.", metavar="KIND")],
    as_json: Annotated[bool, typer.Option("--json", help="Every field of every entry, for scripts.")] = False,
) -> None:
    """List the registered methods, protocols, metrics or datasets, and what each lacks here.

    \b
    avatarbench list methods
    avatarbench list metrics | grep mediapipe
    avatarbench list protocols --json
    """
    plural = kind_of(kind)
    if plural is None:
        raise UsageError(f"unknown kind '{kind}'{registry.suggest(kind, list(registry.GROUPS))}")
    found = entries(plural)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    console, headings = stdout_console(), ("id", *LAYOUTS[plural][0])
    rows = [_row(plural, item) for item in found]
    table, dropped = _table(headings, rows, []), []
    for spare in SPARE[plural]:  # words broken over lines read worse than a column that `show` has as well
        if console.measure(table, options=console.options.update(width=PIPED_WIDTH)).minimum <= console.width:
            break
        dropped.append(spare)
        table = _table(headings, rows, dropped)
    console.print(table)
    if dropped:
        console.print(Text(f"Left out for room: {', '.join(dropped)}. avatarbench show NAME has it all.", style="dim"))


def kind_of(word: str) -> registry.Kind | None:
    """``metric`` or ``metrics`` -> ``metrics``."""
    return next((g for g in registry.GROUPS if word in (g, g[:-1])), None)


def _row(kind: registry.Kind, item: Entry) -> list[Cell]:
    headings, row = LAYOUTS[kind]
    return [item["id"], *(_broken(item, len(headings)) if "error" in item else row(item))]


def _table(headings: Sequence[str], rows: Sequence[Sequence[Cell]], dropped: Sequence[str]) -> Table:
    kept = [n for n, heading in enumerate(headings) if heading not in dropped]
    table = plain_table(*(headings[n] for n in kept))
    for row in rows:
        table.add_row(*(row[n] for n in kept))
    return table


def _broken(item: Entry, columns: int) -> list[Cell]:
    """The error stands where the others say what they miss: the last column but one."""
    return [status_text("broken"), *[""] * (columns - 3), Text(item["error"], style="red"), _owner(item)]


def _owner(item: Entry) -> str:
    return "" if item["owner"] == "avatarbench" else item["owner"]


def _method(item: Entry) -> list[Cell]:
    licence = f"{item['licence_code']} / {item['licence_weights']}"
    role = " (bound)" if item["role"] == "bound" else ""
    needs = ", ".join(item["needs"])
    lacks = missing_text(item["missing"])
    return [item["name"] + role, status_text(item["status"]), licence, needs, lacks, _owner(item)]


def _protocol(item: Entry) -> list[Cell]:
    metrics = ", ".join(item["metrics"])
    lacks = missing_text(item["missing"])
    where = [_selection(item["sources"]), _selection(item["drivers"]), f"{item['image']['size']} px"]
    return [str(item["version"]), item["task"], *where, metrics, lacks, _owner(item)]


def _selection(selection: Entry) -> str:
    text = selection["dataset"]
    if selection["start"]:
        text += f" from {selection['start']}"
    if selection["stride"] > 1:
        text += f" every {selection['stride']}"
    return text + (f", at most {selection['limit']} a sequence" if selection["limit"] is not None else "")


def _metric(item: Entry) -> list[Cell]:
    lacks = missing_text(item["missing"])
    return [item["name"], item["better"], item["unit"], item["kind"], item["against"], lacks, _owner(item)]


def _dataset(item: Entry) -> list[Cell]:
    lacks = missing_text(item["missing"])
    return [item["name"], item["licence"], item["access"], item["option"], lacks, _owner(item)]


LAYOUTS: dict[registry.Kind, tuple[tuple[str, ...], Callable[[Entry], list[Cell]]]] = {
    "methods": (("name", "status", "licence (code / weights)", "needs", "missing here", "package"), _method),
    "protocols": (
        ("version", "task", "sources", "drivers", "size", "metrics", "missing here", "package"),
        _protocol,
    ),
    "metrics": (("name", "better", "unit", "kind", "against", "missing here", "package"), _metric),
    "datasets": (("name", "licence", "access", "option", "missing here", "package"), _dataset),
}

SPARE: dict[registry.Kind, tuple[str, ...]] = {
    "methods": ("package", "needs", "licence (code / weights)", "name"),
    "protocols": ("package", "metrics", "size", "version", "task"),
    "metrics": ("package", "against", "kind", "unit"),
    "datasets": ("package", "access", "licence"),
}
"""Columns that a terminal too narrow for the table does without, the first first."""
