"""Which runs fill a paper's table: those that were named, or the newest that ran its protocol as it stands."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avatarbench import registry
from avatarbench.errors import DataError, UsageError
from avatarbench.run.record import MethodRecord, ProtocolRecord, RunRecord
from avatarbench.tables.build import Run, load_run
from avatarbench.tables.options import changes, command
from avatarbench.tables.published import Task

OPEN: Mapping[Task, str] = {"self": "openheads-self", "cross": "openheads-cross"}
"""Whose runs are taken where the paper's data is nobody's here: OpenHeads needs no licence."""


@dataclass(frozen=True)
class Wanted:
    """What a paper's table has room for: its methods, and by task our ids of its metrics and the paper's protocol."""

    reference: str
    methods: tuple[str, ...]
    metrics: Mapping[Task, tuple[str, ...]]
    protocols: Mapping[Task, str]

    def homes(self, task: Task) -> tuple[str, ...]:
        """The protocols that are searched where no run is named, best first."""
        return tuple(dict.fromkeys((self.protocols[task], OPEN[task])))


@dataclass(frozen=True)
class Chosen:
    """Runs cut to the wanted methods and metrics. ``absent`` says by task why there is none."""

    runs: tuple[Run, ...]
    absent: Mapping[Task, str]
    notes: tuple[str, ...]


Found = list[tuple[Path, RunRecord]]


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
                also = f" ({run.left_out})" if run.left_out else ""
                raise UsageError(
                    f"run {record.id} has none of the {what} of {wanted.reference}: it has "
                    f"{', '.join(has) or 'none'}{also}, the table takes {', '.join(takes)}. Leave the run out, add its "
                    f"methods with --also, or print it with: avatarbench table {folder}"
                )
        others += [m.id for m in record.methods if m.id not in wanted.methods]
        runs.append(_cut(run, [m.id for m in record.methods if _takes(m, wanted)], wanted))
    absent = {
        task: f"no run of {task}-reenactment was named"
        for task in wanted.metrics
        if all(r.record.protocol.task != task for r in runs)
    }
    others = list(dict.fromkeys(others))
    notes = [f"In these runs and not in the paper's table: {', '.join(others)} (--also adds them)."] if others else []
    return Chosen(tuple(runs), absent, tuple(notes))


def newest(folder: Path, wanted: Wanted) -> Chosen:
    """For every method the newest finished run under ``folder`` that has it, of the paper's protocol or else of
    :data:`OPEN`.

    A run that asked for fewer frames than its protocol, or measured by another version of it or of a metric than is
    installed, is left out. So are runs over other frames than those that most of the table's methods ran on (the newer
    ones where that is equal). Each is noted. Nothing found is no error: ``absent`` says so.
    """
    runs: list[Run] = []
    absent: dict[Task, str] = {}
    records, notes = _records(folder, wanted)
    for task in wanted.metrics:
        home, found = _at_home(records, wanted, task)
        if not found:
            absent[task] = _none(folder, task, wanted)
            continue
        if home != wanted.protocols[task]:
            notes.append(
                f"No run of {wanted.protocols[task]} to take under {folder}: measured is {home}, on heads that are "
                "generated, not on the paper's data."
            )
        frames = max({_frames(r.protocol): None for _, r in found}, key=lambda f: _worth(f, found, wanted))
        by_run: dict[Path, list[str]] = {}
        for method in wanted.methods:
            if path := _best(method, [(p, r) for p, r in found if _frames(r.protocol) == frames], wanted):
                by_run.setdefault(path, []).append(method)
        runs += [_cut(load_run(path), methods, wanted) for path, methods in by_run.items()]
        if rest := [r for _, r in found if _frames(r.protocol) != frames]:
            held = ", ".join(f"{r.id} (N = {r.protocol.pairs})" for r in rest)
            notes.append(f"Left out, since they ran on other frames of {home}: {held}.")
    return Chosen(tuple(runs), absent, tuple(notes))


def _at_home(records: Found, wanted: Wanted, task: Task) -> tuple[str, Found]:
    for home in wanted.homes(task):
        if found := [(p, r) for p, r in records if r.protocol.id == home]:
            return home, found
    return wanted.protocols[task], []


def _records(folder: Path, wanted: Wanted) -> tuple[Found, list[str]]:
    """Finished runs of the wanted protocols that have one of the methods, newest first; notes on those passed over."""
    protocols = [home for task in wanted.metrics for home in wanted.homes(task)]
    found, notes = [], []
    for path in sorted(p.parent for p in folder.glob("*/run.json")):
        try:
            record = RunRecord.load(path)
        except DataError as error:
            notes.append(f"Left out: {error}")
            continue
        if record.protocol.id not in protocols or not any(_takes(m, wanted) for m in record.methods):
            continue
        if not {m.id for m in record.metrics} & set(wanted.metrics[record.protocol.task]):
            continue
        if why := _unfit(record, wanted):
            notes.append(f"Left out: run {record.id} {why}")
            continue
        found.append((path, record))
    return sorted(found, key=lambda f: (f[1].created, f[1].id), reverse=True), notes


def _unfit(record: RunRecord, wanted: Wanted) -> str | None:
    """Why a run is not taken unasked, with what to do about it."""
    if record.status in ("running", "interrupted") or not record.results:
        return f"is {record.status} and has no results."
    if asked := changes(record):
        return f"is not the protocol as it stands ({', '.join(asked)}). Name it to have it in the table."
    for metric in record.metrics:
        now = registry.metric(metric.id).version if metric.id in wanted.metrics[record.protocol.task] else None
        if now not in (None, metric.version):
            return (
                f"measured {metric.id} by version {metric.version}, here it is version {now}. Repeat it with: "
                f"{command(record)}"
            )
    protocol = record.protocol
    if (
        protocol.id in registry.names("protocols")
        and (now := registry.protocol(protocol.id).version) != protocol.version
    ):
        return (
            f"ran version {protocol.version} of {protocol.id}, here it is version {now}. Repeat it with: "
            f"{command(record)}"
        )
    return None


def _frames(protocol: ProtocolRecord) -> tuple[int, int, int, str]:
    return protocol.version, protocol.size, protocol.pairs, protocol.manifest


def _worth(frames: tuple[object, ...], found: Found, wanted: Wanted) -> tuple[bool, int, int]:
    """Real data before generated; then how many of the table's methods ran on ``frames``; then how new they are."""
    at = [n for n, (_, r) in enumerate(found) if _frames(r.protocol) == frames]
    ran = {m.id for n in at for m in found[n][1].methods if m.unavailable is None and _takes(m, wanted)}
    return found[at[0]][1].protocol.data is None, len(ran), -at[0]


def _best(method: str, found: Found, wanted: Wanted) -> Path | None:
    """The newest run where the method ran; else the newest that says why it did not."""
    having = [(p, m) for p, r in found for m in r.methods if m.id == method and _takes(m, wanted)]
    ran = [p for p, m in having if m.unavailable is None]
    return next(iter([*ran, *(p for p, _ in having)]), None)


def _takes(method: MethodRecord, wanted: Wanted) -> bool:
    """A row of the table is the method itself, never what stands in for it."""
    return method.id in wanted.methods and not method.stands_in


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
    return Run(kept, values, run.sources, run.left_out)


def _none(folder: Path, task: Task, wanted: Wanted) -> str:
    homes = wanted.homes(task)
    here = set(registry.names("methods"))
    ours = [m for m in wanted.methods if m in here and registry.method(m).status != "unavailable"]
    why = f"no finished run of {' or '.join(homes)} under {folder} has a method and a metric of this table"
    if not ours:
        return f"{why}, and none of its methods is installed here"
    return f"{why}: {' or '.join(_run_command(ours, home) for home in homes)}"


def _run_command(methods: Sequence[str], protocol: str) -> str:
    known = protocol in registry.names("protocols") and registry.protocol(protocol).split is not None
    words = ["avatarbench", "run", *(a for m in methods for a in ("-m", m)), "-p", protocol]
    return shlex.join([*words, *(["--data-root", "DIR"] if known else [])])
