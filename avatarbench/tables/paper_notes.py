"""What stands below a paper's table: what each figure is, which runs it is from, and how the two sides agree."""

from __future__ import annotations

from collections.abc import Iterator

from avatarbench import registry
from avatarbench.tables.model import Group
from avatarbench.tables.notes import footnotes
from avatarbench.tables.options import method_options
from avatarbench.tables.order import incomplete, summary, verdict
from avatarbench.tables.paper import Column, PaperTable
from avatarbench.tables.published import definitions


def notes(table: PaperTable) -> Iterator[str]:
    """The notes, each a sentence, in a fixed order."""
    yield "Best and second are marked among the published and among the measured figures, never across the two."
    yield f"Rows by id: {'; '.join(f'{name} = {method}' for method, name in table.layout.rows)}."
    yield from definitions(table.rows)
    yield from _beside(table)
    for task, why in table.chosen.absent.items():
        yield f"n/a (no run), {task}: {why}."
    yield from table.chosen.notes
    if table.ours is None:
        return
    yield from _runs(table)
    yield from _differences(table)
    yield from footnotes(table.ours)
    yield from _absent(table)
    yield from _order(table)


def _beside(table: PaperTable) -> Iterator[str]:
    """Which of ours stand beside each of the paper's metrics and how far they may be compared."""
    said: dict[str, dict[str, None]] = {}
    for column in table.columns:
        why = f": {column.beside.why}" if column.beside.why else ""
        in_task = f" in {column.task}" if _differ_by_task(table, column) else ""
        said.setdefault(column.paper, {})[f"{column.spec.name}{in_task} ({column.beside.level}{why})"] = None
    for metric in dict.fromkeys(m for metrics in table.layout.columns.values() for m in metrics):
        if metric in said:
            yield f"Beside the paper's {metric}: {', '.join(said[metric])}."


def _differ_by_task(table: PaperTable, column: Column) -> bool:
    same = [c for c in table.columns if (c.paper, c.id) == (column.paper, column.id)]
    return len({c.beside for c in same}) > 1


def _runs(table: PaperTable) -> Iterator[str]:
    """The runs that were taken, and what they asked for beyond the defaults."""
    cuts = table.cuts
    for run in table.chosen.runs:
        record = run.record
        asked = [*cuts.get(record.id, ()), *method_options(record, [m.id for m in record.methods])]
        yield (
            f"Run {record.id} of {record.created:%Y-%m-%d}: {record.protocol.id} version {record.protocol.version}, "
            f"{', '.join(m.id for m in record.methods)}; options: {', '.join(asked) or 'none'}."
        )


def _differences(table: PaperTable) -> Iterator[str]:
    """What the differences are, and why some or all of them are missing."""
    compared = [c for c in table.columns if table.compared(c)]
    if compared:
        yield (
            "Δ is measured minus published, at the paper's digits. The people and frames are those that our protocol "
            "draws: which the paper took is not published."
        )
    if any(c.beside.level == "definition unknown" for c in compared):
        yield "Δ with a question mark: the paper leaves the definition open, so the two may be of different things."
    for group in table.ours.groups if table.ours else ():
        if why := table.apart(group):
            yield f"No difference from the published figures is given: {why}."
            continue
        columns = [c for c in table.columns if c.group is group and c.beside.level == "not comparable"]
        if columns:
            names = ", ".join(f"{c.spec.name} and the paper's {c.paper}" for c in columns)
            yield f"{group.protocol.id}: no difference, since not comparable: {names}."


def _absent(table: PaperTable) -> Iterator[str]:
    ran = {r.id for r in table.ours.rows} if table.ours else set()
    missing = [m for m in table.layout.methods if m not in ran]
    here = set(registry.names("methods"))
    closed = [m for m in missing if m in here and registry.method(m).status == "unavailable"]
    if closed:
        yield f"n/a (not run): {', '.join(closed)}: no public code."
    if run := [m for m in missing if m in here and m not in closed]:
        yield f"n/a (not run): {', '.join(run)}, in none of the runs taken."
    if unknown := [m for m in missing if m not in here]:
        yield f"n/a (not run): {', '.join(unknown)}: no such method is installed here."
    for column in table.columns:
        if column.group and column.scored is None:
            runs = ", ".join(column.group.runs)
            yield f"n/a (not scored): {column.spec.name} is not among the metrics of {runs}."


def _order(table: PaperTable) -> Iterator[str]:
    verdicts = []
    for column in table.columns:
        if column.group is None or (metric := column.scored) is None:
            continue
        theirs = [v for v in table.rows if (v.task, v.metric) == (column.task, column.paper)]
        if theirs and (found := verdict(theirs, column.group, metric)):
            verdicts.append(found)
    if not verdicts:
        yield "The paper's order of rows cannot be looked at: no metric has a ranked value of two of its methods here."
        return
    yield summary(verdicts)
    for group in _groups(table):
        ids = [c.id for c in table.columns if c.group is group]
        yield from incomplete(table.layout.methods, group, ids)
    yield from (v.note for v in verdicts)


def _groups(table: PaperTable) -> tuple[Group, ...]:
    return table.ours.groups if table.ours else ()
