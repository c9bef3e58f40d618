"""Prepare: a run that lacks nothing and knows its pairs, new or taken up again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from avatarbench.datasets.marks import data_mark
from avatarbench.errors import AssetError, DataError, PreflightError, UsageError
from avatarbench.protocol import FrameRef, Manifest
from avatarbench.run.config import RunConfig
from avatarbench.run.describe import asset_hashes, describe_method, describe_metric, describe_protocol, origin_of
from avatarbench.run.environment import describe_environment
from avatarbench.run.flame_check import check_flame
from avatarbench.run.local import Planned, plan
from avatarbench.run.pinned import altered
from avatarbench.run.plan import make_manifest, reference_set
from avatarbench.run.preflight import (
    Preflight,
    check,
    check_cameras,
    check_frames,
    check_set_sizes,
    check_views,
    resolve,
)
from avatarbench.run.progress import progress_bar
from avatarbench.run.record import RunRecord
from avatarbench.run.resolve import own_frames


@dataclass(frozen=True)
class Prepared:
    """A configuration, what it is made of, its pairs, and the real frames that set metrics compare with.

    ``planned``: how the pairs came about, where they are not what ships; ``data``: the data folder's own mark.
    """

    config: RunConfig
    found: Preflight
    manifest: Manifest
    references: list[FrameRef]
    planned: Planned | None = None
    data: str | None = None

    @property
    def notes(self) -> list[str]:
        """What a reader of the run, and of a table with it, has to know of the data and the pairs."""
        spec, notes = self.found.protocol, [*self.found.notes]
        for method in self.found.runnable_methods:
            notes += origin_of(method, self.config.method.get(method.id, {})).remarks
        if self.data is not None:
            notes.append(f"data: {self.data}; these figures under the name of {spec.id} are of {self.data} alone")
        if self.planned is not None and spec.split is not None:
            notes.append(
                f"manifest: local; the pairs of {spec.id} were drawn by its rule, seed {spec.split.seed}, on the data "
                "at hand"
            )
            notes += [f"{spec.id}: {note}" for note in self.planned.notes]
            if changed := self.planned.altered:
                notes.append(
                    f"the data is not what the manifest of {spec.id} was resolved on: {len(changed)} sequences have "
                    f"other files ({', '.join(changed[:3])}{', ...' if len(changed) > 3 else ''})"
                )
        return notes


def prepare(config: RunConfig) -> Prepared:
    """Resolve, preflight and plan. Raises UsageError or PreflightError with everything that is wrong at once."""
    found = resolve(config)
    check(found, config)
    manifest, planned, mark = None, None, None
    references: list[FrameRef] = []
    if len(found.datasets) == len(found.protocol.datasets):
        try:
            mark = _mark(found, config)
            if found.protocol.split is not None:
                planned, references = _by_rule(found, config)
                manifest = planned.manifest
            else:
                manifest = make_manifest(found.protocol, config, found.datasets)
                references = reference_set(found.protocol, manifest, found.datasets)
            if wrong := altered(found.protocol, manifest, config.data):
                raise DataError(
                    f"{len(wrong)} sequences of the data that ships are not what '{found.protocol.id}' was made of "
                    f"({', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}): install avatarbench again, or name "
                    "a folder of yours."
                )
            check_frames(found, manifest)
            check_flame(found, manifest)
            check_cameras(found, manifest)
            check_views(found, manifest, config)
            check_set_sizes(found, manifest, len(references))
        except (DataError, AssetError) as error:
            found.fatal.append(str(error))
    found.verdict(config.skip_missing)
    assert manifest is not None  # without one, verdict has raised
    return Prepared(config, found, manifest, references, planned, mark)


def _by_rule(found: Preflight, config: RunConfig) -> tuple[Planned, list[FrameRef]]:
    """The pairs and the reference set of a protocol whose split is a rule. Raises DataError, AssetError, UsageError."""
    spec, name = found.protocol, found.protocol.sources.dataset
    with progress_bar() as progress:
        task = progress.add_task(f"resolve {spec.id}", total=spec.split.people if spec.split else None)
        planned = plan(spec, config, found.datasets[name], Path(config.data[name]), lambda: progress.advance(task))
    if spec.reference == "targets":
        return planned, reference_set(spec, planned.manifest, found.datasets)
    sources = list(dict.fromkeys(pair.source for pair in planned.manifest.pairs))
    return planned, own_frames(spec, found.datasets[name], sources)


def _mark(found: Preflight, config: RunConfig) -> str | None:
    """What the folders that the user named say that they hold, where one of them is marked. Raises DataError."""
    named = [(config.data[name], data) for name, data in found.datasets.items() if name in config.data]
    marks = (data_mark(root, getattr(data, "home", None)) for root, data in named)
    return next((mark for mark in marks if mark is not None), None)


def prepare_all(configs: Iterable[RunConfig]) -> list[Prepared]:
    """Several runs of one command. Raises one error with what is wrong with any of them."""
    prepared, errors = [], []
    for config in configs:
        try:
            prepared.append(prepare(config))
        except PreflightError as error:
            errors.append(str(error))
    if errors:
        raise PreflightError("\n".join(errors))
    return prepared


def start(prepared: Prepared, out: Path, command: Sequence[str]) -> tuple[Path, RunRecord]:
    """Give a run a folder of its own under ``out``. Nothing is rendered yet."""
    config, found = prepared.config, prepared.found
    created = datetime.now(UTC)
    folder = new_folder(out, f"{created:%Y%m%d-%H%M%S}-{found.protocol.id}")
    record = RunRecord(
        id=folder.name,
        status="running",
        created=created,
        command=list(command),
        config=config.model_dump(),
        seed=config.seed,
        protocol=describe_protocol(found.protocol, prepared.manifest, prepared.planned, prepared.data),
        methods=[describe_method(m, config.method.get(m.id, {}), found) for m in found.methods],
        metrics=[describe_metric(m, found.without_metrics.get(m.id)) for m in found.metrics],
        environment=describe_environment(),
    )
    record.save(folder)
    return folder, record


def reopen(folder: Path) -> tuple[Prepared, RunRecord]:
    """A run that was interrupted or killed, ready to go on with exactly the methods and metrics it began with.

    Raises UsageError where inputs, definitions, weights or methods are not what they were.
    """
    record = RunRecord.load(folder)
    try:
        config = RunConfig.model_validate(record.config)
    except ValidationError as error:
        command = " ".join(record.command)
        raise UsageError(f"{folder} was not made by 'avatarbench run': do it again with\n  {command}") from error
    metrics = [m.id for m in record.metrics]
    prepared = prepare(config.model_copy(update={"metrics": metrics, "skip_missing": True}))
    found = prepared.found
    changed = _changes(record, prepared)
    if changed:
        raise UsageError(f"{folder} cannot be resumed; start a new run:\n  - " + "\n  - ".join(changed))
    found.without_methods = {m.id: m.unavailable for m in record.methods if m.unavailable}
    found.without_metrics = {m.id: m.unavailable for m in record.metrics if m.unavailable}
    return prepared, record


def _changes(record: RunRecord, prepared: Prepared) -> list[str]:
    found, changed = prepared.found, []
    then, now = record.protocol.manifest, prepared.manifest.digest()
    if then != now:
        changed.append(f"its pairs or input files have changed (manifest {then[:12]} then, {now[:12]} now)")
    methods, metrics = {m.id: m for m in found.methods}, {m.id: m for m in found.metrics}
    for method in record.methods:
        if method.unavailable is None and method.id in found.without_methods:
            changed.append(f"'{method.id}' ran then and cannot run now: {found.without_methods[method.id]}")
        elif json.loads(json.dumps(asdict(methods[method.id]))) != json.loads(json.dumps(method.spec)):
            changed.append(f"the method '{method.id}' is another version now")
        elif method.unavailable is None and origin_of(methods[method.id], method.options).found != method.origin:
            changed.append(f"'{method.id}' runs from another checkout, or with other weights, now")
    for metric in record.metrics:
        if metric.unavailable is None and metric.id in found.without_metrics:
            changed.append(f"'{metric.id}' ran then and cannot run now: {found.without_metrics[metric.id]}")
        elif metrics[metric.id].version != metric.version or (
            metric.unavailable is None and asset_hashes(metrics[metric.id]) != metric.assets
        ):
            changed.append(f"the metric '{metric.id}' is another version or has other weights now")
    return changed


def new_folder(out: Path, name: str) -> Path:
    """A folder that did not exist: two runs of one second get different names. Raises UsageError."""
    for attempt in range(1, 1000):
        folder = out / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(f"cannot write runs to {out}: {error.strerror}. Choose another with --out.") from error
        return folder
    raise UsageError(f"{out} already holds a thousand runs of this second.")
