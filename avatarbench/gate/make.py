"""From a finished run to its baseline."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from avatarbench.errors import DataError, UsageError
from avatarbench.gate.baseline import (
    Baseline,
    Column,
    EnvironmentPart,
    MethodPart,
    MetricPart,
    ProtocolPart,
    SetValue,
    Spread,
    rounded,
)
from avatarbench.protocol import FRAMES
from avatarbench.run.record import RunRecord
from avatarbench.statistics import Value
from avatarbench.tables.build import configuration, load_run

HASH = 16
"""Characters kept of a file's sha256: it has to tell contents apart, not to resist an attack."""


def of_folder(folder: Path, tolerances: Mapping[str, Mapping[str, float]] | None = None) -> Baseline:
    """The baseline that the run in ``folder`` makes; ``check`` reads runs through it too.

    Raises DataError where the run is unfinished, damaged, or lacks samples that its record promises, and UsageError
    where one of its methods is a stand-in's.
    """
    _refuse_stand_ins(RunRecord.load(folder))
    run = load_run(folder)
    record = run.record
    samples = sorted(run.sources)
    if len(samples) != record.protocol.pairs and any(m.kind == "pair" for m in record.metrics):
        raise DataError(
            f"{folder} is truncated: samples.parquet has {len(samples)} samples, run.json promises "
            f"{record.protocol.pairs}. Finish the run with: avatarbench run --resume {folder}"
        )
    identities = sorted(set(run.sources.values()))
    place = {name: at for at, name in enumerate(identities)}
    methods = [m for m in record.methods if m.unavailable is None]
    measured = [m for m in record.metrics if m.unavailable is None]
    return Baseline(
        tolerances={m: dict(allowed) for m, allowed in (tolerances or {}).items()},
        run=record.id,
        created=record.created,
        command=record.command,
        seed=record.seed,
        protocol=_protocol(folder, record),
        environment=EnvironmentPart(**record.environment.model_dump(include=set(EnvironmentPart.model_fields))),
        methods=[
            MethodPart(
                id=m.id,
                name=m.name,
                options=configuration(m)["options"],
                spec={k: v for k, v in configuration(m).items() if k != "options" and v},
                unavailable=m.unavailable,
            )
            for m in record.methods
        ],
        metrics=[MetricPart(**m.model_dump(include=set(MetricPart.model_fields))) for m in record.metrics],
        identities=identities,
        samples={sample: place[run.sources[sample]] for sample in samples},
        values={
            m.id: {k.id: _column(folder, run.values.get((m.id, k.id)), samples) for k in measured if k.kind == "pair"}
            for m in methods
        },
        sets={
            m.id: {
                r.metric: SetValue(value=rounded(r.own), n=r.n_valid, reason=r.reason)
                for k in measured
                for r in record.results
                if k.kind == "set" and (r.method, r.metric) == (m.id, k.id)
            }
            for m in methods
        },
    )


def _refuse_stand_ins(record: RunRecord) -> None:
    if standing_in := [m.name for m in record.methods if m.stands_in]:
        raise UsageError(
            f"run {record.id} ran what only stands in for a method ({', '.join(standing_in)}), and nothing is held "
            "against that: run the real one (--repo), or the other methods alone."
        )


def with_reruns(baseline: Baseline, reruns: Sequence[Baseline]) -> Baseline:
    """``baseline`` with the spread of the same run done again: other seeds, other thread counts.

    Raises UsageError where a re-run is of another protocol, manifest or definition, of other data, or was given before.
    """
    ids = [baseline.run, *(again.run for again in reruns)]
    if twice := [run for run in ids if ids.count(run) > 1]:
        raise UsageError(f"run {twice[0]} was given twice, and is no re-run of itself.")
    for again in reruns:
        if differing := _differing(baseline, again):
            raise UsageError(f"run {again.run} is no re-run of {baseline.run}: other {', '.join(differing)}.")
    runs = [baseline, *reruns]
    spread: dict[str, dict[str, Spread]] = {}
    for method in baseline.methods:
        for metric in baseline.metrics:
            found = [_difference(a, b, method.id, metric.id) for a, b in combinations(runs, 2)]
            known = [d for d in found if d is not None]
            if known:
                most = Spread(mean=max(d.mean for d in known), valid=max(d.valid for d in known))
                spread.setdefault(method.id, {})[metric.id] = most
    return baseline.model_copy(update={"spread": spread, "reruns": [r.run for r in reruns]})


def kept_tolerances(path: Path) -> dict[str, dict[str, float]]:
    """What people have written into the tolerances of the file at ``path``, sealed or not. Raises UsageError."""
    try:
        return Baseline.model_validate_json(path.read_text(encoding="utf-8")).tolerances
    except (OSError, ValueError) as error:  # unreadable, neither UTF-8 nor JSON, or of another shape
        raise UsageError(
            f"{path} is not a baseline whose tolerances could be kept. Write to another file, or remove it first."
        ) from error


def require_values(baseline: Baseline) -> None:
    """Raises UsageError where no method has a value under any metric."""
    of_pairs = (v for columns in baseline.values.values() for c in columns.values() for v in c.values)
    of_sets = (s.value for sets in baseline.sets.values() for s in sets.values())
    if all(value is None for value in (*of_pairs, *of_sets)):
        raise UsageError(f"run {baseline.run} has no value at all: there is nothing to hold later runs against.")


def _differing(a: Baseline, b: Baseline) -> list[str]:
    parts: dict[str, tuple[Any, Any]] = {
        "protocol, manifest or data": (a.protocol, b.protocol),
        "samples": (a.samples, b.samples),
        "methods or options": (a.methods, b.methods),
        "metrics, definitions or weights": (a.metrics, b.metrics),
    }
    return [name for name, (one, other) in parts.items() if one != other]


def _difference(a: Baseline, b: Baseline, method: str, metric: str) -> Spread | None:
    """Of the means over the samples that both have a value for, and of how many have one; None where not measured."""
    first, second = a.column(method, metric), b.column(method, metric)
    if first is not None and second is not None:
        both = [s for s in first if first[s].valid and second[s].valid]
        means = [math.fsum(c[s].value for s in both) / len(both) if both else 0.0 for c in (first, second)]
        counts = [sum(v.valid for v in c.values()) for c in (first, second)]
        return Spread(mean=rounded(abs(means[0] - means[1])) or 0.0, valid=abs(counts[0] - counts[1]))
    one, other = a.sets.get(method, {}).get(metric), b.sets.get(method, {}).get(metric)
    if one is None or other is None:
        return None
    gap = 0.0 if one.value is None or other.value is None else abs(one.value - other.value)
    return Spread(mean=rounded(gap) or 0.0, valid=abs(one.n - other.n))


def _column(folder: Path, column: Mapping[str, Value] | None, samples: Sequence[str]) -> Column:
    if column is None or column.keys() != set(samples):
        raise DataError(
            f"{folder} is truncated: a metric has {len(column or ())} of {len(samples)} samples in samples.parquet. "
            f"Finish the run with: avatarbench run --resume {folder}"
        )
    reasons: dict[str, list[int]] = {}
    for at, sample in enumerate(samples):
        if not column[sample].valid:
            reasons.setdefault(column[sample].reason or f"the value is {column[sample].value}", []).append(at)
    return Column(values=[rounded(column[s].value) for s in samples], reasons=reasons)


def _protocol(folder: Path, record: RunRecord) -> ProtocolPart:
    image, files = _manifest(folder) if record.protocol.id != FRAMES else ({}, {})
    of_record = record.protocol.model_dump(include={"id", "version", "task", "size", "manifest", "data"})
    return ProtocolPart(**of_record, image=image, files=files)


def _manifest(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The image contract, and by sequence the start of its file's hash."""
    try:
        found = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        refs = [ref for pair in found["pairs"] for ref in (pair["source"], pair["driver"], pair["target"])]
        files = {f"{ref['dataset']}/{ref['sequence']}": ref["digest"][:HASH] for ref in refs if ref is not None}
        return dict(found["image"]), dict(sorted(files.items()))
    except (OSError, ValueError, KeyError, TypeError) as error:  # missing, no JSON, or of another shape
        raise DataError(
            f"{folder} is damaged: cannot read manifest.json ({type(error).__name__}: {error}). Run it again."
        ) from error
