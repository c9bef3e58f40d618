"""One run from a configuration to a finished record: plan, preflight, build, render, score, aggregate."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from avatarbench import assets
from avatarbench.errors import UsageError
from avatarbench.method import MethodSpec
from avatarbench.metric import MetricSpec
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.scorer import Scorer
from avatarbench.protocol import Manifest, ProtocolSpec
from avatarbench.run.config import RunConfig
from avatarbench.run.environment import describe_environment
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal
from avatarbench.run.plan import make_manifest
from avatarbench.run.preflight import Preflight, check, resolve
from avatarbench.run.progress import progress_bar
from avatarbench.run.record import MethodRecord, MetricRecord, ProtocolRecord, Result, RunRecord, write_samples
from avatarbench.run.render import Rendered, Renderer, replay
from avatarbench.run.score import Scene, Scores, replay_scores, rows, score_pairs, score_sets, where
from avatarbench.run.sheet import contact_sheet
from avatarbench.statistics import summarise, values_of


@dataclass(frozen=True)
class Prepared:
    """A run that lacks nothing: its configuration, what it is made of, and its pairs."""

    config: RunConfig
    found: Preflight
    manifest: Manifest


def prepare(config: RunConfig) -> Prepared:
    """Resolve, preflight and plan. Raises UsageError or PreflightError with everything that is wrong at once."""
    found = resolve(config)
    check(found, config)
    return Prepared(config, found, make_manifest(found.protocol, config, found.datasets))


def start(prepared: Prepared, out: Path, command: Sequence[str]) -> tuple[Path, RunRecord]:
    """Begin a run in a folder of its own under ``out``; :func:`execute` then does the work."""
    config, found, manifest = prepared.config, prepared.found, prepared.manifest
    created = datetime.now(UTC)
    folder = new_folder(out, f"{created:%Y%m%d-%H%M%S}-{found.protocol.id}")
    record = RunRecord(
        id=folder.name,
        status="running",
        created=created,
        command=list(command),
        config=config.model_dump(),
        seed=config.seed,
        protocol=_protocol_record(found.protocol, manifest),
        methods=[_method_record(m, config, found) for m in found.methods],
        metrics=[metric_record(m, found.unavailable.get(m.id)) for m in found.metrics],
        environment=describe_environment(),
    )
    record.save(folder)
    return folder, record


def reopen(folder: Path) -> tuple[Prepared, RunRecord]:
    """A run that was interrupted or killed, ready to go on. Raises UsageError where inputs or definitions changed."""
    record = RunRecord.load(folder)
    prepared = prepare(RunConfig.model_validate(record.config))
    now = prepared.manifest.digest()
    if now != record.protocol.manifest:
        raise UsageError(
            f"{folder} cannot be resumed: its pairs or input files have changed (manifest "
            f"{record.protocol.manifest[:12]} then, {now[:12]} now). Start a new run."
        )
    for old in record.metrics:
        new = next(m for m in prepared.found.metrics if m.id == old.id)
        if new.version != old.version or (old.unavailable is None and _asset_hashes(new) != old.assets):
            raise UsageError(f"{folder} cannot be resumed: '{old.id}' is another version or has other weights now.")
    return prepared, record


def execute(prepared: Prepared, folder: Path, record: RunRecord) -> None:
    """Do what the folder's journal has not done yet and finish ``record``. Interrupted, it can be reopened."""
    with ExitStack() as stack:
        lock = FileLock(folder / ".lock", timeout=0)
        try:
            stack.enter_context(lock)
        except Timeout as error:
            raise UsageError(f"{folder} is being run by another process.") from error
        record.status, record.finished = "running", None
        record.save(folder)
        try:
            _stages(prepared, folder, record, stack)
        except BaseException as error:
            record.status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            with suppress(OSError):  # on a full disk the old record stays: the journal is what resuming needs
                record.save(folder)
            raise


def _stages(prepared: Prepared, folder: Path, record: RunRecord, stack: ExitStack) -> None:
    config, found, manifest = prepared.config, prepared.found, prepared.manifest
    device = device_name(config.device)
    cache = FeatureCache.default()
    engine = FeatureEngine(["face"], cache, device)
    stack.callback(engine.close)
    inputs = Inputs(found.datasets, manifest.image, engine)
    journal = stack.enter_context(Journal(folder / "journal.jsonl"))
    state = replay(journal, folder)
    methods = [m.id for m in found.runnable_methods]
    scene = Scene(found.protocol, manifest, inputs, state, folder)

    with progress_bar() as progress, _timed(record, "render"):
        for spec in found.runnable_methods:
            task = progress.add_task(f"render {spec.id}", total=len(manifest.pairs), completed=len(state[spec.id].done))
            renderer = Renderer(spec, config.method.get(spec.id, {}), inputs, state[spec.id], journal, folder)
            renderer.render(manifest.pairs, config.seed, lambda task=task: progress.advance(task))  # type: ignore[misc]
    for method in record.methods:
        _fill_method(method, state[method.id])

    _check_set_sizes(record, found, len(scene.reference_set()), len(manifest.pairs))
    metrics = found.runnable_metrics
    pair_metrics = [m for m in metrics if m.kind == "pair"]
    scorer = Scorer(metrics, cache, device, config.batch)
    stack.callback(scorer.close)
    scores: Scores = replay_scores(journal)
    with progress_bar() as progress, _timed(record, "score"):
        total = len(manifest.pairs) * len(methods)
        task = progress.add_task("score", total=total, completed=len(scores))
        score_pairs(scene, methods, scorer, scores, journal, lambda n: progress.advance(task, n))
        sets, sizes = score_sets(scene, methods, [m for m in metrics if m.kind == "set"], scorer)
    with _timed(record, "aggregate"):
        samples = rows(found.protocol.id, [where(p) for p in manifest.pairs], methods, pair_metrics, scores)
        write_samples(samples, folder)
        contact_sheet(scene, methods, folder / "contact.png")
        _write_json(folder / "inputs.json", inputs.record())
        _write_json(folder / "manifest.json", asdict(manifest))
        finish(record, samples, sets, sizes, inputs.notes(), len(manifest.pairs))
    record.save(folder)


def finish(
    record: RunRecord,
    samples: list[dict[str, Any]],
    sets: list[Result],
    sizes: dict[str, int],
    notes: list[str],
    n_total: int,
) -> None:
    """Aggregate into ``record``: results, notes, and the status that the exit code follows."""
    for metric in record.metrics:
        metric.reference_frames = sizes.get(metric.id)
    record.results = summarise(values_of(samples), record.methods, record.metrics, n_total, sets)
    counted = Counter((r["method"], r["metric"], r["note"]) for r in samples if r["note"])
    record.notes = notes + [
        f"{method}, {metric}: {count} x {note}" for (method, metric, note), count in sorted(counted.items())
    ]
    expected = [r for r in record.results if _available(record, r)]
    valid = [r for r in expected if r.n_valid]
    if not valid:
        record.status = "failed"
    else:
        record.status = "complete" if all(r.n_valid == r.n_total and r.reason is None for r in expected) else "partial"
    record.finished = datetime.now(UTC)


def _available(record: RunRecord, result: Result) -> bool:
    named = {m.id: m.unavailable for m in record.methods}, {m.id: m.unavailable for m in record.metrics}
    return named[0][result.method] is None and named[1][result.metric] is None


def _check_set_sizes(record: RunRecord, found: Preflight, references: int, pairs: int) -> None:
    """A set metric that has too few frames by the protocol's own making is not applicable, rather than failed."""
    records = {m.id: m for m in record.metrics}
    for metric in found.runnable_metrics:
        fewest = min(references, pairs)
        if metric.kind == "set" and fewest < metric.minimum:
            what = "reference frame" if references <= pairs else "prediction"
            reason = f"{fewest} {what}{'s' if fewest != 1 else ''}, needs {metric.minimum}"
            found.unavailable[metric.id] = records[metric.id].unavailable = reason


def _fill_method(method: MethodRecord, state: Rendered) -> None:
    builds = list(state.builds.values())
    gaussians = [b["info"]["gaussians"] for b in builds if "gaussians" in b["info"]]
    seconds = sum(state.seconds.values())
    method.avatars, method.frames, method.failures = len(builds), len(state.digests), len(state.failures)
    method.build_seconds = sum(b["seconds"] for b in builds) / len(builds) if builds else None
    method.fps = len(state.seconds) / seconds if seconds > 0 else None
    method.peak_memory_mib = state.peak_memory_mib or None
    method.gaussians = sum(gaussians) / len(gaussians) if gaussians else None


def _protocol_record(spec: ProtocolSpec, manifest: Manifest) -> ProtocolRecord:
    return ProtocolRecord(
        id=spec.id,
        version=spec.version,
        name=spec.name,
        task=spec.task,
        manifest=manifest.digest(),
        pairs=len(manifest.pairs),
        size=manifest.image.size,
        spec=asdict(spec),
    )


def _method_record(spec: MethodSpec, config: RunConfig, found: Preflight) -> MethodRecord:
    families = {found.protocol.sources.dataset, found.protocol.drivers.dataset}
    return MethodRecord(
        id=spec.id,
        name=spec.name,
        role=spec.role,
        spec=asdict(spec),
        options=config.method.get(spec.id, {}),
        unavailable=found.unavailable.get(spec.id),
        tracker_is_judge=[m.id for m in found.runnable_metrics if spec.tracker and m.judge == spec.tracker],
        in_domain=bool(families & set(spec.trained_on)),
    )


def metric_record(spec: MetricSpec, unavailable: str | None) -> MetricRecord:
    return MetricRecord(
        id=spec.id,
        name=spec.name,
        version=spec.version,
        kind=spec.kind,
        better=spec.better,
        unit=spec.unit,
        digits=spec.digits,
        spec=asdict(spec),
        assets={} if unavailable else _asset_hashes(spec),
        unavailable=unavailable,
    )


def _asset_hashes(spec: MetricSpec) -> dict[str, str]:
    return {name: assets.sha256(name) for name in spec.assets if assets.state(name) == "present"}


def device_name(wanted: str) -> str:
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device={wanted} was asked for and torch sees no CUDA device. See: avatarbench doctor")
    return wanted


def new_folder(out: Path, name: str) -> Path:
    """A folder that did not exist: two runs of one second get different names."""
    for attempt in range(1, 1000):
        folder = out / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(
                f"cannot write runs to {out}: {error.strerror}. Choose another folder with --out."
            ) from error
        return folder
    raise UsageError(f"{out} already holds a thousand runs of this second.")


@contextmanager
def _timed(record: RunRecord, stage: str) -> Iterator[None]:
    begun = time.perf_counter()
    try:
        yield
    finally:
        record.timings[stage] = record.timings.get(stage, 0.0) + time.perf_counter() - begun


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
