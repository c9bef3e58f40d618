"""Runs for the gate, made of given values: four people, one frame of each in turn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avatarbench.gate.baseline import Baseline
from avatarbench.gate.make import of_folder
from tests.units.runs_fixture import Column, method, metric, write_run

PEOPLE = 4
FRAMES = 24


def levels(level: float, people: int = PEOPLE, frames: int = FRAMES, seed: int = 0) -> list[float]:
    """Values around ``level`` that differ by person and by frame, as a method's do."""
    rng = np.random.default_rng(seed)
    of_people = rng.normal(0, 0.2 * level, people)
    return [level + of_people[i % people] + x for i, x in enumerate(rng.normal(0, 0.05 * level, frames))]


def gate_run(
    folder: Path,
    values: Mapping[str, Column],
    *,
    people: int = PEOPLE,
    better: str = "lower",
    files: Mapping[str, str] | None = None,
    image: Mapping[str, Any] | None = None,
    sets: Mapping[str, tuple[float, int]] | None = None,
    metrics: Sequence[Any] = (),
    methods: Sequence[Any] = (),
    **changes: Any,
) -> Path:
    """A run of the method ``warp`` with ``values`` by metric id, and the manifest that a run leaves beside them."""
    pairs = changes.pop("pairs", None) or len(next(iter(values.values()), ())) or next(iter((sets or {}).values()))[1]
    chosen = metrics or [metric(k, better=better) for k in values] + [
        metric(k, kind="set", reference_frames=pairs) for k in sets or {}
    ]
    made = write_run(
        folder,
        methods or [method("warp")],
        chosen,
        {("warp", k): column for k, column in values.items()},
        pairs=pairs,
        sets={("warp", k): s for k, s in (sets or {}).items()},
        people=people,
        **changes,
    )
    held = {"openheads/face0": "a" * 64, "openheads/clip": "b" * 64, **(files or {})}
    refs = [
        {"dataset": name.split("/")[0], "sequence": name.split("/")[1], "index": 0, "digest": digest}
        for name, digest in held.items()
    ]
    manifest = {
        "image": {"size": 256, "crop": "face", **(image or {})},
        "pairs": [{"id": str(i), "source": ref, "driver": ref, "target": None} for i, ref in enumerate(refs)],
    }
    (made / "manifest.json").write_text(json.dumps(manifest))
    return made


def gate_baseline(folder: Path, values: Mapping[str, Column], **changes: Any) -> Baseline:
    """The same as the gate reads it."""
    return of_folder(gate_run(folder, values, **changes))
