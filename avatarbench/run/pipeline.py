"""Execute a prepared run: build, render, score, aggregate."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from avatarbench.capability import granted
from avatarbench.errors import UsageError
from avatarbench.files import writing
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.scorer import Scorer
from avatarbench.run.environment import describe_environment
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal
from avatarbench.run.plan import held_out
from avatarbench.run.preflight import Preflight
from avatarbench.run.prepare import Prepared
from avatarbench.run.progress import progress_bar
from avatarbench.run.record import MethodRecord, Result, RunRecord, write_samples
from avatarbench.run.render import Rendered, Renderer, replay
from avatarbench.run.score import Scene, Scores, replay_scores, rows, score_pairs, score_sets, where
from avatarbench.run.sheet import contact_sheet
from avatarbench.statistics import summarise, values_of

REASONS_SHOWN = 8


def execute(prepared: Prepared, folder: Path, record: RunRecord) -> None:
    """Do what the folder's journal has not done yet and finish ``record``. Interrupted, it can be reopened."""
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(folder / ".lock", timeout=0))
        except Timeout as error:
            raise UsageError(f"{folder} is being run by another process.") from error
        with recording(record, folder):
            _stages(prepared, folder, record, stack)


@contextmanager
def recording(record: RunRecord, folder: Path) -> Iterator[None]:
    """Keep ``run.json``'s status true: running, then what the work made it, or interrupted or failed."""
    record.status, record.finished = "running", None
    record.save(folder)
    try:
        yield
        record.save(folder)
    except BaseException as error:
        record.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        with suppress(OSError):  # on a full disk the old record stays: the journal is what resuming needs
            record.save(folder)
        raise


def _stages(prepared: Prepared, folder: Path, record: RunRecord, stack: ExitStack) -> None:
    config, found, manifest = prepared.config, prepared.found, prepared.manifest
    device = device_name(config.device)
    cache = FeatureCache.default()
    journal = stack.enter_context(Journal(folder / "journal.jsonl"))
    engine = FeatureEngine(["face"], cache, device)
    stack.callback(engine.close)
    held = held_out(found.protocol, manifest, config, found.datasets)
    inputs = Inputs(found.datasets, manifest.image, engine, journal, held)
    _note_other_code(record, inputs)
    _note_absent(found, inputs)
    for note in prepared.notes:
        inputs.note(note)
    state = replay(journal, folder)
    methods = [m.id for m in found.runnable_methods]
    scene = Scene(found.protocol, manifest, inputs, prepared.references, state, folder)

    with progress_bar() as progress, _timed(record, "render"):
        for spec in found.runnable_methods:
            task = progress.add_task(f"render {spec.id}", total=len(manifest.pairs), completed=len(state[spec.id].done))
            reader = granted(spec, found.protocol, found.absent)
            renderer = Renderer(reader, config.method.get(spec.id, {}), inputs, state[spec.id], journal, folder)
            renderer.render(manifest.pairs, config.seed, lambda task=task: progress.advance(task))  # type: ignore[misc]
    for method in record.methods:
        _fill_method(method, state[method.id])

    metrics = found.runnable_metrics
    scorer = Scorer(metrics, cache, device, config.batch)
    stack.callback(scorer.close)
    scores: Scores = replay_scores(journal, state)
    with progress_bar() as progress, _timed(record, "score"):
        task = progress.add_task("score", total=len(manifest.pairs) * len(methods), completed=len(scores))
        score_pairs(scene, methods, scorer, scores, journal, lambda n: progress.advance(task, n))
        stand_ins = {m.id for m in record.methods if m.stands_in}
        sets, sizes = score_sets(scene, methods, [m for m in metrics if m.kind == "set"], scorer, stand_ins)
    with _timed(record, "aggregate"):
        at = [where(pair) for pair in manifest.pairs]
        samples = rows(found.protocol.id, at, methods, [m for m in metrics if m.kind == "pair"], scores)
        write_samples(samples, folder)
        contact_sheet(scene, methods, folder / "contact.png", stand_ins)
        _write_json(folder / "inputs.json", inputs.record())
        _write_json(folder / "manifest.json", asdict(manifest))
        finish(record, samples, sets, sizes, inputs.notes(), len(manifest.pairs))


def finish(
    record: RunRecord,
    samples: list[dict[str, Any]],
    sets: list[Result],
    sizes: dict[str, int],
    notes: Sequence[str],
    n_total: int,
) -> None:
    """Aggregate into ``record``: results, notes, and the status that the exit code follows."""
    for metric in record.metrics:
        metric.reference_frames = sizes.get(metric.id)
    record.results = summarise(values_of(samples), record.methods, record.metrics, n_total, sets)
    record.notes = [*notes, *_counted_notes(samples), *_counted_reasons(samples)]
    methods = {m.id for m in record.methods if m.unavailable is None}
    metrics = {m.id for m in record.metrics if m.unavailable is None}
    expected = [r for r in record.results if r.method in methods and r.metric in metrics]
    if not any(math.isfinite(r.value) for r in expected):
        record.status = "failed"
    else:
        record.status = "complete" if all(r.n_valid == r.n_total and r.reason is None for r in expected) else "partial"
    record.finished = datetime.now(UTC)


def _counted_notes(samples: list[dict[str, Any]]) -> list[str]:
    counted = Counter((r["method"], r["metric"], r["note"]) for r in samples if r["note"])
    return [f"{method}, {metric}: {n} x {note}" for (method, metric, note), n in sorted(counted.items())]


def _counted_reasons(samples: list[dict[str, Any]]) -> list[str]:
    """Why frames have no value, the most frequent first, each with the samples it is about."""
    where_: dict[tuple[str, str], list[str]] = {}
    for row in samples:
        if row["reason"]:
            ids = where_.setdefault((row["method"], row["reason"]), [])
            if row["sample"] not in ids:
                ids.append(row["sample"])
    ranked = sorted(where_.items(), key=lambda item: (-len(item[1]), item[0]))
    lines = [
        f"{method}: {len(ids)} x {reason} ({ids[0]}{', ...' if len(ids) > 1 else ''})"
        for (method, reason), ids in ranked[:REASONS_SHOWN]
    ]
    left = len(ranked) - REASONS_SHOWN
    return [*lines, f"{left} further reasons: see samples.parquet"] if left > 0 else lines


def _note_other_code(record: RunRecord, inputs: Inputs) -> None:
    """A resumed run that goes on under another commit or other packages says so."""
    now, then = describe_environment(), record.environment
    if now.git_commit != then.git_commit:
        inputs.note(f"resumed under commit {now.git_commit}, begun under {then.git_commit}")
    for name, version in now.packages.items():
        if then.packages.get(name) != version:
            inputs.note(f"resumed with {name} {version}, begun with {then.packages.get(name)}")


def _note_absent(found: Preflight, inputs: Inputs) -> None:
    """A method that goes without what it wants, because this run's data lacks it, says so."""
    for method in found.runnable_methods:
        for want in (w for w in method.wants if w in found.absent):
            inputs.note(f"{method.id} is given no {want}: {found.absent[want]}")


def _fill_method(method: MethodRecord, state: Rendered) -> None:
    builds = list(state.builds.values())
    gaussians = [b["info"]["gaussians"] for b in builds if "gaussians" in b["info"]]
    seconds = sum(state.seconds.values())
    method.avatars, method.frames, method.failures = len(builds), len(state.digests), len(state.failures)
    method.build_seconds = sum(b["seconds"] for b in builds) / len(builds) if builds else None
    method.fps = len(state.seconds) / seconds if seconds > 0 else None
    method.peak_memory_mib = state.peak_memory_mib or None
    method.gaussians = sum(gaussians) / len(gaussians) if gaussians else None
    method.isolation, method.restarts = state.isolation, state.restarts


def device_name(wanted: str) -> str:
    """``wanted``, with ``auto`` resolved. Raises UsageError for CUDA where torch sees none."""
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device={wanted} was asked for and torch sees no CUDA device. See: avatarbench doctor")
    return wanted


@contextmanager
def _timed(record: RunRecord, stage: str) -> Iterator[None]:
    begun = time.perf_counter()
    try:
        yield
    finally:
        record.timings[stage] = record.timings.get(stage, 0.0) + time.perf_counter() - begun


def _write_json(path: Path, value: Any) -> None:
    with writing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
