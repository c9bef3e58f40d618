"""What every method cost: seconds to build an avatar, frames per second, peak memory, Gaussians."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from avatarbench.run.record import MethodRecord
from avatarbench.statistics import printed
from avatarbench.tables.build import Run
from avatarbench.tables.grid import Entry, Grid, Label, Line

COLUMNS = ("Build (s) ↓", "Frames/s ↑", "Peak memory (MiB) ↓", "Gaussians", "Avatars", "Frames", "Failures ↓")
FIELDS = (
    "protocol",
    "run",
    "method",
    "build_seconds",
    "fps",
    "peak_memory_mib",
    "gaussians",
    "avatars",
    "frames",
    "failures",
    "unavailable",
    "cpu",
    "cores",
    "gpu",
)


def speed_table(runs: Sequence[Run]) -> Grid:
    """One line a method and run. Timings of different machines are shown, never ranked."""
    lines = []
    for run in runs:
        group = f"{run.record.protocol.id} ({run.record.id})"
        for method in run.record.methods:
            label = Label(method.name, group, method.role == "bound")
            lines.append(Line(label, tuple(_entries(method))))
    notes = [
        f"run {r.record.id}: {e.cpu}, {e.cores} cores, {e.gpu or 'no GPU'}, {r.record.protocol.size} px."
        for r in runs
        for e in [r.record.environment]
    ]
    notes.append(
        "Build is the mean a portrait; frames a second of rendering alone; memory: the process's highest resident "
        "memory while the method built and rendered, sampled."
    )
    notes += [f"run {run.record.id}: {run.left_out}." for run in runs if run.left_out]
    columns = tuple(Label(c) for c in COLUMNS)
    return Grid("Speed and memory", "Method", columns, tuple(lines), tuple(notes))


def speed_csv(runs: Sequence[Run]) -> str:
    """The same, one line a method and run, in full precision; an absent figure is empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for run in runs:
        machine = run.record.environment.model_dump()
        where = {"protocol": run.record.protocol.id, "run": run.record.id}
        for method in run.record.methods:
            writer.writerow(machine | method.model_dump() | where | {"method": method.id})
    return out.getvalue()


def _entries(method: MethodRecord) -> list[Entry]:
    bound = method.role == "bound"
    absent = "not run" if method.unavailable else "not measured"
    figures = [(method.build_seconds, 3), (method.fps, 1), (method.peak_memory_mib, 0)]
    texts = [f"n/a ({absent})" if v is None else printed(v, d) for v, d in figures]
    if method.gaussians is None:
        texts.append("n/a (not run)" if method.unavailable else "none")
    else:
        texts.append(printed(method.gaussians, 0))
    texts += [str(n) for n in (method.avatars, method.frames, method.failures)]
    return [Entry(t, italic=bound) for t in texts]
