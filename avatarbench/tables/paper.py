"""A paper's table with ours beside it: the paper's rows in its order, each side in columns and rankings of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from avatarbench import registry
from avatarbench.errors import UnknownNameError, UsageError
from avatarbench.metric import MetricSpec
from avatarbench.registry import suggest
from avatarbench.run.record import MetricRecord
from avatarbench.statistics import rank
from avatarbench.tables.build import build
from avatarbench.tables.grid import Entry, Grid, Label, Line, entry, flags, group_title
from avatarbench.tables.model import ARROWS, Group, Table, heading
from avatarbench.tables.notes import footnotes
from avatarbench.tables.order import incomplete, summary, verdict
from avatarbench.tables.published import PublishedValue, Task, definitions, load, of_table
from avatarbench.tables.select import HOME, Chosen, Wanted, named, newest

OURS = {
    "PSNR": ("psnr",),
    "SSIM": ("ssim",),
    "LPIPS": ("lpips-vgg", "lpips-alex"),
    "FID": ("fid", "fd-vgg"),
    "AKD": ("akd-mediapipe",),
    "APD": ("apd-6drepnet360", "apd-mediapipe"),
    "AED": ("aed-mediapipe",),
    "CSIM": ("csim-arcface", "csim-dlib"),
    "CLIP": ("clip", "csim-dlib"),
}
"""Which of our metrics stand beside a paper's: where it does not say enough, or weights are not free, more than one."""


@dataclass(frozen=True)
class Column:
    """One of our metrics of one task, and the paper's metric that it stands beside."""

    task: Task
    paper: str
    id: str
    group: Group | None

    @property
    def spec(self) -> MetricSpec:
        return registry.metric(self.id)

    @property
    def scored(self) -> MetricRecord | None:
        """The metric as the runs recorded it; None where they did not score it."""
        return next((m for m in self.group.metrics if m.id == self.id), None) if self.group else None

    @property
    def empty(self) -> str | None:
        """Why no cell of the column has a value, where none can."""
        if self.group is None:
            return "no run"
        return "not scored" if self.scored is None else None


@dataclass(frozen=True)
class PaperTable:
    """``ours`` is None where no run has a method of the table."""

    reference: str
    rows: tuple[PublishedValue, ...]
    ours: Table | None
    columns: tuple[Column, ...]
    chosen: Chosen

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(v.method for v in self.rows))

    @property
    def tasks(self) -> tuple[Task, ...]:
        return _tasks(self.rows)


def find(paper: str, table: str, values: Sequence[PublishedValue] | None = None) -> list[PublishedValue]:
    """The published rows. Raises UnknownNameError that names the papers, or the paper's tables."""
    values = load() if values is None else values
    papers = list(dict.fromkeys(v.paper for v in values))
    if paper not in papers:
        raise UnknownNameError(f"no published numbers of the paper '{paper}'{suggest(paper, papers)}")
    tables = list(dict.fromkeys(v.table for v in values if v.paper == paper))
    if table not in tables:
        raise UnknownNameError(f"no table '{table}' of {paper} is kept here. Known: {', '.join(tables)}.")
    return of_table(f"{paper}:{table}", values)


def fill(
    rows: Sequence[PublishedValue],
    folders: Sequence[Path],
    runs: Path,
    metrics: Sequence[str] = (),
    digits: int | None = None,
    intervals: bool = False,
) -> PaperTable:
    """``rows`` beside the runs in ``folders``, or beside the newest under ``runs`` where no folder is given.

    ``metrics`` keeps only these of ours. Raises UsageError for a run or metric that has no place in the table, and for
    runs that do not compare.
    """
    reference = f"{rows[0].paper}:{rows[0].table}"
    by_task = {task: _metrics_of(rows, task) for task in _tasks(rows)}
    known = list(dict.fromkeys(id for ids in by_task.values() for id in ids))
    for metric in metrics:
        if metric not in known:
            raise UsageError(f"'{metric}' stands beside no metric of {reference}{suggest(metric, known)}")
    kept = {task: tuple(i for i in ids if i in metrics or not metrics) for task, ids in by_task.items()}
    wanted = Wanted(reference, tuple(dict.fromkeys(v.method for v in rows)), kept)
    chosen = named(folders, wanted) if folders else newest(runs, wanted)
    ours = build(chosen.runs, digits=digits, intervals=intervals) if chosen.runs else None
    columns = []
    for task in _tasks(rows):
        groups: list[Group | None] = [g for g in ours.groups if g.protocol.task == task] if ours else []
        for group in groups or [None]:
            for paper in dict.fromkeys(v.metric for v in rows if v.task == task):
                columns += [Column(task, paper, i, group) for i in OURS.get(paper, ()) if i in kept[task]]
    return PaperTable(reference, tuple(rows), ours, tuple(columns), chosen)


def lay_out(table: PaperTable, transpose: bool = False) -> Grid:
    """The paper's columns of a task, then ours of that task; notes say what stands behind both and how they agree."""
    labels: list[Label] = []
    columns: list[list[Entry]] = []
    for task in table.tasks:
        for label, entries in (*_published(table, task), *_measured(table, task)):
            labels.append(label)
            columns.append(entries)
    by_id = {r.id: r for r in table.ours.rows} if table.ours else {}
    methods = [Label(m + (flags(by_id[m]) if m in by_id else "")) for m in table.methods]
    title = f"{table.reference}, as published and as measured here"
    notes = tuple(_notes(table))
    if transpose:
        lines = tuple(Line(label, tuple(entries)) for label, entries in zip(labels, columns, strict=True))
        return Grid(title, "Metric", tuple(methods), lines, notes)
    rows = zip(*columns, strict=True)
    return Grid(
        title, "Method", tuple(labels), tuple(Line(m, tuple(r)) for m, r in zip(methods, rows, strict=True)), notes
    )


def _tasks(rows: Sequence[PublishedValue]) -> tuple[Task, ...]:
    return tuple(sorted({v.task for v in rows}, key=lambda t: t != "self"))


def _metrics_of(rows: Sequence[PublishedValue], task: Task) -> tuple[str, ...]:
    papers = dict.fromkeys(v.metric for v in rows if v.task == task)
    return tuple(dict.fromkeys(id for paper in papers for id in OURS.get(paper, ())))


def _published(table: PaperTable, task: Task) -> Iterator[tuple[Label, list[Entry]]]:
    rows = [v for v in table.rows if v.task == task]
    for dataset, metric, better in dict.fromkeys((v.dataset, v.metric, v.better) for v in rows):
        values = {v.method: v for v in rows if (v.dataset, v.metric) == (dataset, metric)}
        digits = max(len(v.text.partition(".")[2]) for v in values.values())
        marks = rank({m: v.value for m, v in values.items()}, better, digits)
        yield (
            Label(f"{metric} {ARROWS[better]}", f"published: {dataset}, {task}"),
            [Entry(values[m].text, marks.get(m)) if m in values else Entry("n/a (not printed)") for m in table.methods],
        )


def _measured(table: PaperTable, task: Task) -> Iterator[tuple[Label, list[Entry]]]:
    for column in (c for c in table.columns if c.task == task):
        data = group_title(column.group) if column.group else HOME[task]
        yield Label(heading(column.spec), f"ours: {data}"), [_entry(table, column, m) for m in table.methods]


def _entry(table: PaperTable, column: Column, method: str) -> Entry:
    cell = column.group.cells.get((method, column.id)) if column.group else None
    if table.ours is None or column.scored is None or cell is None:
        return Entry(f"n/a ({column.empty or 'not run'})")
    return entry(cell, table.ours.decimals(column.scored), False, table.ours.intervals)


def _notes(table: PaperTable) -> Iterator[str]:
    yield "Published and measured figures are of other data and other definitions: best and second are marked in each."
    yield from definitions(table.rows)
    for paper, ids in _beside(table).items():
        yield f"Beside the paper's {paper}: {', '.join(registry.metric(i).name for i in ids)}."
    for paper in dict.fromkeys(v.metric for v in table.rows):
        if paper not in OURS:
            yield f"Beside the paper's {paper}: nothing of ours."
    for task, why in table.chosen.absent.items():
        yield f"n/a (no run), {task}: {why}."
    if table.ours is None:
        yield from table.chosen.notes
        return
    yield from footnotes(table.ours)
    yield from table.chosen.notes
    yield from _absent(table)
    yield from _order(table)


def _beside(table: PaperTable) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for column in table.columns:
        found.setdefault(column.paper, {})[column.id] = None
    return {paper: list(ids) for paper, ids in found.items()}


def _absent(table: PaperTable) -> Iterator[str]:
    ran = {r.id for r in table.ours.rows} if table.ours else set()
    if missing := [m for m in table.methods if m not in ran]:
        yield f"n/a (not run): {', '.join(missing)}, in none of the runs taken."
    for column in table.columns:
        if column.group and column.scored is None:
            runs = ", ".join(column.group.runs)
            yield f"n/a (not scored): {column.spec.name} is not among the metrics of {runs}."


def _order(table: PaperTable) -> Iterator[str]:
    verdicts = []
    for column in table.columns:
        if column.group is None or (metric := column.scored) is None:
            continue
        for dataset in dict.fromkeys(v.dataset for v in table.rows):
            key = (dataset, column.task, column.paper)
            theirs = [v for v in table.rows if (v.dataset, v.task, v.metric) == key]
            if theirs and (found := verdict(theirs, column.group, metric)):
                verdicts.append(found)
    if not verdicts:
        yield "The paper's order of rows cannot be looked at: no metric has a ranked value of two of its methods here."
        return
    yield summary(verdicts)
    for group in table.ours.groups if table.ours else ():
        yield from incomplete(table.methods, group, [c.id for c in table.columns if c.group is group])
    yield from (v.note for v in verdicts)
