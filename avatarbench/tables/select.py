"""Which runs fill a paper's table: those that were named, or the newest that have its methods."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avatarbench import registry
from avatarbench.errors import DataError, UsageError
from avatarbench.run.record import MethodRecord, ProtocolRecord, RunRecord
from avatarbench.tables.build import Run, load_run
from avatarbench.tables.published import Task

HOME: Mapping[Task, str] = {"self": "openheads-self", "cross": "openheads-cross"}
"""The protocol whose runs are looked for where none are named."""


@dataclass(frozen=True)
class Wanted:
    """What a paper's table has room for: its methods, and our ids of its metrics by task."""

    reference: str
    methods: tuple[str, ...]
    metrics: Mapping[Task, tuple[str, ...]]


@dataclass(frozen=True)
class Chosen:
    """Runs cut to the wanted methods and metrics. ``absent`` says by task why there is none."""

    runs: tuple[Run, ...]
    absent: Mapping[Task, str]
    notes: tuple[str, ...]


def named(folders: Sequence[Path], wanted: Wanted) -> Chosen:
    """The runs in ``folders``. Raises UsageError for one whose task, methods or metrics the table has no place for."""
    runs, others = [], []
    for folder in folders:
        run = load_run(folder)
        record, task = run.record, run.record.protocol.task
        if task not in wanted.metrics:
            raise UsageError(
                f"run {record.id} is {task}-reenactment, {wanted.reference} is {' and '.join(wanted.metrics)}: "
                "leave the run out."
            )
        for what, has, takes in (
            ("methods", [m.id for m in record.methods], wanted.methods),
            ("metrics", [m.id for m in record.metrics], wanted.metrics[task]),
        ):
            if not set(has) & set(takes):
                raise UsageError(
                    f"run {record.id} has none of the {what} of {wanted.reference}: it has {', '.join(has)}, the table "
                    f"takes {', '.join(takes)}. Leave the run out, or print it with: avatarbench table {folder}"
                )
        others += [m.name for m in record.methods if m.id not in wanted.methods]
        runs.append(_cut(run, wanted.methods, wanted))
    absent = {
        task: f"no run of {task}-reenactment was named"
        for task in wanted.metrics
        if all(r.record.protocol.task != task for r in runs)
    }
    notes = [f"In these runs and not in the paper's table: {', '.join(dict.fromkeys(others))}."] if others else []
    return Chosen(tuple(runs), absent, tuple(notes))


def newest(folder: Path, wanted: Wanted) -> Chosen:
    """For every method the newest finished run of :data:`HOME` under ``folder`` that has it.

    Runs over other frames do not stand in one column: the frames that most of the table's methods ran on are taken, the
    newer ones where that is equal, and what is left out is noted. Nothing found is no error: ``absent`` says so.
    """
    runs: list[Run] = []
    absent: dict[Task, str] = {}
    records, notes = _records(folder, wanted)
    for task in wanted.metrics:
        found = [(p, r) for p, r in records if r.protocol.id == HOME[task]]
        if not found:
            absent[task] = _none(folder, HOME[task], wanted)
            continue
        frames = max({_frames(r.protocol): None for _, r in found}, key=lambda f: _worth(f, found, wanted))
        by_run: dict[Path, list[str]] = {}
        for method in wanted.methods:
            if path := _best(method, [(p, r) for p, r in found if _frames(r.protocol) == frames]):
                by_run.setdefault(path, []).append(method)
        runs += [_cut(load_run(path), methods, wanted) for path, methods in by_run.items()]
        if rest := [r for _, r in found if _frames(r.protocol) != frames]:
            held = ", ".join(f"{r.id} (N = {r.protocol.pairs})" for r in rest)
            notes.append(f"Left out, since they ran on other frames of {HOME[task]}: {held}.")
    return Chosen(tuple(runs), absent, tuple(notes))


def _records(folder: Path, wanted: Wanted) -> tuple[list[tuple[Path, RunRecord]], list[str]]:
    """Finished runs of the wanted protocols that have one of the methods, newest first; notes on those passed over."""
    protocols = [HOME[task] for task in wanted.metrics]
    found, notes = [], []
    for path in sorted(p.parent for p in folder.glob("*/run.json")):
        try:
            record = RunRecord.load(path)
        except DataError as error:
            notes.append(f"Left out: {error}")
            continue
        if record.protocol.id not in protocols or not {m.id for m in record.methods} & set(wanted.methods):
            continue
        if not {m.id for m in record.metrics} & set(wanted.metrics[record.protocol.task]):
            continue
        if record.status in ("running", "interrupted") or not record.results:
            notes.append(f"Left out: run {record.id} is {record.status} and has no results.")
            continue
        found.append((path, record))
    return sorted(found, key=lambda f: (f[1].created, f[1].id), reverse=True), notes


def _frames(protocol: ProtocolRecord) -> tuple[int, int, int, str]:
    return protocol.version, protocol.size, protocol.pairs, protocol.manifest


def _worth(frames: tuple[object, ...], found: Sequence[tuple[Path, RunRecord]], wanted: Wanted) -> tuple[int, int]:
    """How many of the table's methods ran on ``frames``; then how early in ``found``, which is newest first."""
    at = [n for n, (_, r) in enumerate(found) if _frames(r.protocol) == frames]
    ran = {m.id for n in at for m in found[n][1].methods if m.unavailable is None}
    return len(ran & set(wanted.methods)), -at[0]


def _best(method: str, found: Sequence[tuple[Path, RunRecord]]) -> Path | None:
    """The newest run where the method ran; else the newest that says why it did not."""
    having: list[tuple[Path, MethodRecord]] = [(p, m) for p, r in found for m in r.methods if m.id == method]
    ran = [p for p, m in having if m.unavailable is None]
    return next(iter([*ran, *(p for p, _ in having)]), None)


def _cut(run: Run, methods: Sequence[str], wanted: Wanted) -> Run:
    """The run with these methods and the metrics of its task alone."""
    record, metrics = run.record, wanted.metrics[run.record.protocol.task]
    kept = record.model_copy(
        update={
            "methods": [m for m in record.methods if m.id in methods],
            "metrics": [m for m in record.metrics if m.id in metrics],
            "results": [r for r in record.results if r.method in methods and r.metric in metrics],
        }
    )
    values = {(m, k): column for (m, k), column in run.values.items() if m in methods and k in metrics}
    return Run(kept, values, run.sources)


def _none(folder: Path, protocol: str, wanted: Wanted) -> str:
    here = set(registry.names("methods"))
    ours = [m for m in wanted.methods if m in here]
    why = f"no finished run of {protocol} under {folder} has a method and a metric of this table"
    if not ours:
        return f"{why}, and none of its methods is installed here"
    return f"{why}: {shlex.join(['avatarbench', 'run', *(a for m in ours for a in ('-m', m)), '-p', protocol])}"
