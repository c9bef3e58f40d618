"""Real run folders made of given values, for whatever reads runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from avatarbench.run.record import (
    EnvironmentRecord,
    MethodRecord,
    MetricRecord,
    ProtocolRecord,
    RunRecord,
    write_samples,
)
from avatarbench.statistics import set_result, summarise, values_of

Column = Sequence[float | str]
"""Values by sample; a string is the reason of a missing one."""

ENVIRONMENT = EnvironmentRecord(
    python="3.11.0",
    platform="test",
    packages={},
    git_commit=None,
    git_dirty=None,
    cpu="one processor",
    cores=2,
    memory_gib=8.0,
    gpu=None,
)


def method(id: str, **changes: Any) -> MethodRecord:
    fields: dict[str, Any] = {"id": id, "name": id, "role": "method", "spec": {"factory": f"made:{id}"}}
    return MethodRecord(**fields | changes)


def metric(id: str, **changes: Any) -> MetricRecord:
    fields: dict[str, Any] = {
        "id": id,
        "name": id.upper(),
        "version": 1,
        "kind": "pair",
        "better": "lower",
        "unit": "",
        "digits": 3,
        "spec": {},
    }
    return MetricRecord(**fields | changes)


def write_run(
    folder: Path,
    methods: Sequence[MethodRecord],
    metrics: Sequence[MetricRecord],
    values: Mapping[tuple[str, str], Column],
    *,
    pairs: int,
    sets: Mapping[tuple[str, str], tuple[float, int]] | None = None,
    protocol: Mapping[str, Any] | None = None,
    people: int = 1,
    **changes: Any,
) -> Path:
    """A run folder whose id is the folder's name, aggregated as a run does it. ``sets``: (value, n) of set metrics.

    Frame ``i`` is of person ``i % people``.
    """
    fields: dict[str, Any] = {"id": "clip-self", "version": 1, "name": "p", "task": "self", "manifest": "ab" * 32}
    record = ProtocolRecord(**fields | {"size": 256, "spec": {}, "pairs": pairs} | dict(protocol or {}))
    rows = [
        {
            "protocol": record.id,
            "method": method_id,
            "sample": f"{_person(frame, people)}/clip/{frame:06d}",
            "source": _person(frame, people),
            "driver": "clip",
            "frame": frame,
            "metric": metric_id,
            "value": math.nan if isinstance(value, str) else value,
            "reason": value if isinstance(value, str) else None,
            "note": None,
        }
        for (method_id, metric_id), column in values.items()
        for frame, value in enumerate(column)
    ]
    of_sets = [set_result(m, k, v, n, pairs, None) for (m, k), (v, n) in (sets or {}).items()]
    common: dict[str, Any] = {
        "id": folder.name,
        "status": "complete",
        "created": datetime(2026, 1, 1, tzinfo=UTC),
        "command": ["avatarbench", "run"],
        "config": {},
        "seed": 0,
        "protocol": record,
        "methods": list(methods),
        "metrics": list(metrics),
        "results": summarise(values_of(rows), methods, metrics, pairs, of_sets),
        "environment": ENVIRONMENT,
    }
    folder.mkdir(parents=True)
    RunRecord(**common | changes).save(folder)
    write_samples(rows, folder)
    return folder


def _person(frame: int, people: int) -> str:
    return "face" if people == 1 else f"face{frame % people}"
