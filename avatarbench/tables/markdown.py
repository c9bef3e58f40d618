"""Markdown for GitHub: best in bold, second in <ins> (GitHub drops <u>), bounds in italics."""

from __future__ import annotations

from tabulate import tabulate

from avatarbench.tables.grid import Entry, Grid, Label


def render(grid: Grid, caption: bool = False) -> str:
    """A pipe table and its notes as a list. Groups of columns become a prefix of the heading; of rows, a line.

    ``caption`` puts the title above.
    """
    grouped = len({c.group for c in grid.columns}) > 1
    headers = [grid.corner, *(_heading(c, grouped) for c in grid.columns)]
    body: list[list[str]] = []
    group = ""
    for line in grid.lines:
        if line.label.group != group:
            group = line.label.group
            body.append([f"**{escape(group)}**", *("" for _ in grid.columns)])
        body.append([_label(line.label), *(_entry(e) for e in line.entries)])
    align = ("left", *("right" for _ in grid.columns))
    table = tabulate(body, headers, tablefmt="pipe", disable_numparse=True, colalign=align)
    notes = "\n".join(f"- {escape(n)}" for n in grid.notes)
    parts = [f"**{escape(grid.title)}**"] if caption else []
    return "\n\n".join([*parts, table, *([notes] if notes else [])]) + "\n"


def escape(text: str) -> str:
    """Text that Markdown takes literally inside a table."""
    for character in "\\`*_|<>[]":
        text = text.replace(character, "\\" + character)
    return text.replace("\n", " ")


def _heading(label: Label, grouped: bool) -> str:
    text = _label(label)
    return f"{escape(label.group)}<br>{text}" if grouped else text


def _label(label: Label) -> str:
    return f"*{escape(label.text)}*" if label.italic else escape(label.text)


def _entry(entry: Entry) -> str:
    text = escape(entry.text)
    if entry.mark == "best":
        return f"**{text}**"
    if entry.mark == "second":
        return f"<ins>{text}</ins>"
    return f"*{text}*" if entry.italic else text
