"""A paper's table beside our runs: which of our columns stand beside the paper's, and what may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avatarbench import registry
from avatarbench.errors import UsageError
from avatarbench.metric import MetricSpec
from avatarbench.registry import suggest
from avatarbench.run.record import MetricRecord, RunRecord
from avatarbench.tables.build import build
from avatarbench.tables.comparability import Beside, beside
from avatarbench.tables.layouts import DATA, Layout
from avatarbench.tables.model import Cell, Group, Table
from avatarbench.tables.options import changes
from avatarbench.tables.published import PublishedValue, Task, of_table
from avatarbench.tables.select import Chosen, Wanted, named, newest


@dataclass(frozen=True)
class Column:
    """One of our metrics of one task, and the paper's metric that it stands beside."""

    task: Task
    paper: str
    beside: Beside
    group: Group | None

    @property
    def id(self) -> str:
        return self.beside.id

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

    def cell(self, method: str) -> Cell | None:
        return self.group.cells.get((method, self.id)) if self.group else None


@dataclass(frozen=True)
class PaperTable:
    """``placed``: the paper's numbers by method, task and metric. ``ours`` is None where no run has a method of it.

    ``also``: ids of methods that are shown below the paper's rows, measured alone.
    """

    layout: Layout
    also: tuple[str, ...]
    rows: tuple[PublishedValue, ...]
    placed: Mapping[tuple[str, Task, str], PublishedValue]
    ours: Table | None
    columns: tuple[Column, ...]
    chosen: Chosen

    @property
    def methods(self) -> tuple[str, ...]:
        """The paper's rows, then those added to them."""
        return (*self.layout.methods, *self.also)

    @property
    def cuts(self) -> dict[str, tuple[str, ...]]:
        """Run id -> what it asked for beyond its protocol, for the runs that did."""
        return {r.record.id: asked for r in self.chosen.runs if (asked := changes(r.record))}

    def home(self, column: Column) -> str:
        """The protocol over a column: that of its runs, or the one that would fill it."""
        return column.group.protocol.id if column.group else self.layout.protocols[column.task]

    def apart(self, group: Group) -> str | None:
        """Why nothing measured in ``group`` can be set against the paper's figures; None where it can."""
        data = DATA[self.layout.dataset]
        if group.protocol.id != self.layout.protocols.get(group.protocol.task):
            return f"{group.protocol.id} is not measured on the paper's data, {data}"
        if group.protocol.data:
            return f"{group.protocol.id} ran on data: {group.protocol.data}, the paper's figures are of {data}"
        if changed := group.protocol.altered:
            return f"{changed} sequences of the data of {group.protocol.id} are not what its manifest names"
        kept, asked = group.protocol.background, group.protocol.own_background
        if kept and asked and kept != asked:
            return f"backgrounds are {kept} in {group.protocol.id} for lack of masks, not {asked} as its protocol asks"
        if cut := [run for run in group.runs if run in self.cuts]:
            return f"run {cut[0]} is not the protocol as it stands ({', '.join(self.cuts[cut[0]])})"
        return None

    def difference(self, column: Column, method: str) -> float | None:
        """Measured minus published; None where one of the two is missing or they do not compare."""
        value, cell = self.placed.get((method, column.task, column.paper)), column.cell(method)
        if value is None or cell is None or column.group is None or cell.result.value != cell.result.value:
            return None
        if column.beside.level == "not comparable" or self.apart(column.group):
            return None
        return cell.result.value - value.value

    def compared(self, column: Column) -> bool:
        """Whether any cell of the column has a difference."""
        return any(self.difference(column, m) is not None for m in self.layout.methods)


def fill(
    layout: Layout,
    values: Sequence[PublishedValue],
    folders: Sequence[Path],
    runs: Path,
    metrics: Sequence[str] = (),
    digits: int | None = None,
    intervals: bool = False,
    also: Sequence[str] = (),
) -> PaperTable:
    """``layout`` beside the runs in ``folders``, or beside the newest under ``runs`` where no folder is given.

    ``metrics`` keeps only these of ours; ``also`` adds methods of the runs below the paper's. Raises UsageError for a
    run, metric or method that has no place in the table, and for runs that do not compare.
    """
    rows = of_table(layout.reference, values)
    all_beside = {t: {m: beside(layout.paper, m, t) for m in papers} for t, papers in layout.columns.items()}
    known = list(dict.fromkeys(b.id for found in all_beside.values() for ours in found.values() for b in ours))
    for metric in metrics:
        if metric not in known:
            raise UsageError(f"'{metric}' stands beside no metric of {layout.reference}{suggest(metric, known)}")
    kept = {
        task: {paper: [b for b in ours if b.id in metrics or not metrics] for paper, ours in found.items()}
        for task, found in all_beside.items()
    }
    ids = {task: tuple(dict.fromkeys(b.id for ours in found.values() for b in ours)) for task, found in kept.items()}
    added = tuple(m for m in dict.fromkeys(also) if m not in layout.methods)
    wanted = Wanted(layout.reference, (*layout.methods, *added), ids, layout.protocols)
    chosen = named(folders, wanted) if folders else newest(runs, wanted)
    for method in added:
        if not any(method == m.id for r in chosen.runs for m in r.record.methods):
            gone = "".join(f" (run {r.record.id}: {r.left_out})" for r in chosen.runs if r.left_out)
            raise UsageError(f"no run taken has the method '{method}'{gone}{suggest(method, _methods(folders))}")
    ours = build(chosen.runs, digits=digits, intervals=intervals) if chosen.runs else None
    columns = []
    for task, found in kept.items():
        groups: list[Group | None] = [g for g in ours.groups if g.protocol.task == task] if ours else []
        for group in groups or [None]:
            columns += [Column(task, paper, b, group) for paper, those in found.items() for b in those]
    return PaperTable(layout, added, tuple(rows), layout.place(rows), ours, tuple(columns), chosen)


def _methods(folders: Sequence[Path]) -> list[str]:
    """What can be added: the methods of the runs that were named, or those that are installed."""
    if not folders:
        return registry.names("methods")
    return list(dict.fromkeys(m.id for f in folders for m in RunRecord.load(f).methods if not m.stands_in))
