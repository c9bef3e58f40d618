"""A paper's table as the paper prints it: its rows, columns, order and digits, its best and second computed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple

from avatarbench.statistics import Mark, rank
from avatarbench.tables.comparability import comparability
from avatarbench.tables.grid import Entry, Grid, Label, of_columns
from avatarbench.tables.layouts import DATA, Layout
from avatarbench.tables.model import ARROWS
from avatarbench.tables.published import COLUMNS, PublishedValue, Task, definitions, of_table

UNPRINTED = "n/a (not printed)"


def published_grid(layout: Layout, values: Sequence[PublishedValue]) -> Grid:
    """``layout`` filled with the paper's own numbers. Raises DataError for a number without a place."""
    rows = of_table(layout.reference, values)
    headings, columns = published_columns(layout, rows)
    labels = [Label(name) for _, name in layout.rows]
    notes = [
        "As printed in the paper, not measured here. Another table's metric of the same name may be defined otherwise.",
        "Best and second are computed from these values, and share a mark where they are equal.",
        *definitions(rows),
    ]
    return of_columns(f"{layout.title}: as published", layout.corner, labels, headings, columns, notes)


def published_columns(layout: Layout, rows: Sequence[PublishedValue]) -> tuple[list[Label], list[list[Entry]]]:
    """Headings and columns of the paper's numbers, from left to right."""
    placed, marks = layout.place(rows), published_marks(layout, rows)
    headings, columns = [], []
    for task, metrics in layout.columns.items():
        for metric in metrics:
            found = {m: placed[m, task, metric] for m in layout.methods if (m, task, metric) in placed}
            better = next((v.better for v in found.values()), None)
            headings.append(Label(f"{metric} {ARROWS[better]}" if better else metric, published_group(layout, task)))
            columns.append(
                [
                    Entry(found[m].text, marks.get((m, task, metric))) if m in found else Entry(UNPRINTED)
                    for m in layout.methods
                ]
            )
    return headings, columns


def published_marks(layout: Layout, rows: Sequence[PublishedValue]) -> dict[tuple[str, Task, str], Mark]:
    """Best and second of every column by method, task and metric, at the paper's digits."""
    placed = layout.place(rows)
    marks: dict[tuple[str, Task, str], Mark] = {}
    for task, metrics in layout.columns.items():
        for metric in metrics:
            found = [v for (_, t, k), v in placed.items() if (t, k) == (task, metric)]
            if not found:
                continue
            ranked = rank({v.method: v.value for v in found}, found[0].better, max(v.digits for v in found))
            marks |= {(method, task, metric): mark for method, mark in ranked.items()}
    return marks


def published_group(layout: Layout, task: Task) -> str:
    """What stands over the paper's columns of one task."""
    return f"published: {DATA[layout.dataset]}, {task}"


def published_csv(layout: Layout, values: Sequence[PublishedValue]) -> str:
    """The table's rows as the file has them, with the mark of each and its comparability with ours."""
    rows = of_table(layout.reference, values)
    marks = published_marks(layout, rows)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*COLUMNS, "mark", "comparability"))
    for v in rows:
        writer.writerow((*astuple(v), marks.get((v.method, v.task, v.metric), ""), comparability(v)))
    return out.getvalue()
