"""Scoring frames that already exist: two folders or two videos, for people who only have frames."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from avatarbench import assets, registry
from avatarbench.datasets.folder import FolderDataset
from avatarbench.errors import DataError, UsageError
from avatarbench.metric import Against, MetricSpec
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.features import Missing
from avatarbench.metrics.scorer import Item, LazyImage, Scorer
from avatarbench.protocol import FRAMES, Task
from avatarbench.run.describe import describe_metric
from avatarbench.run.environment import describe_environment
from avatarbench.run.pipeline import device_name, finish, recording
from avatarbench.run.prepare import new_folder
from avatarbench.run.progress import console, progress_bar
from avatarbench.run.record import MethodRecord, ProtocolRecord, Result, RunRecord, write_samples
from avatarbench.run.score import Scores, Where, rows
from avatarbench.statistics import set_result

OBSTACLES: dict[Against, str] = {
    "target": "--task self",
    "source": "--source",
    "identity": "--source",
    "real": "--task self: under --task cross the references show the drivers, who are other people",
}
"""What a metric needs before frames can be scored with it, by what it compares with."""


@dataclass(frozen=True)
class Frames:
    """Frames by id: the file's name without its ending in a folder of images, the zero-padded index in a video."""

    path: Path
    images: dict[str, LazyImage]
    digest: str
    dataset: FolderDataset

    def notes(self) -> list[str]:
        """Conversions made by the reading so far."""
        return [f"{self.path.name}: {note}" for s in self.dataset.sequences() for note in self.dataset.notes(s)]


def read_frames(path: Path) -> Frames:
    """Frames of a folder of images, of one image or of one video. Raises DataError or UsageError where it is none."""
    dataset = FolderDataset(path, name="frames", loose="frames")
    sequences = dataset.sequences()
    if len(sequences) > 1:
        raise UsageError(
            f"{path} holds several sequences ({', '.join(sequences[:5])}{', ...' if len(sequences) > 5 else ''}): "
            "score one folder of images or one video at a time."
        )
    only = sequences[0]
    names = dataset.frame_names(only)
    images = {
        name: LazyImage(f"{path}/{name}", lambda i=i: dataset.read(only, i))  # type: ignore[misc]
        for i, name in enumerate(names)
    }
    digest = hashlib.sha256("\n".join([*names, dataset.digest(only)]).encode()).hexdigest()
    return Frames(path, images, digest, dataset)


@dataclass(frozen=True)
class Request:
    """What to score against what. ``source`` is the one portrait, for identity metrics."""

    predictions: Frames
    references: Frames
    source: Frames | None
    task: Task
    name: str
    metrics: tuple[str, ...]


def choose_metrics(request: Request) -> tuple[list[MetricSpec], dict[str, str]]:
    """The metrics to run and why some have no value. Raises UsageError where one asked for by name is impossible."""
    has: set[Against] = {"driver"}
    if request.task == "self":
        has |= {"target", "identity", "real"}
    if request.source is not None:
        has |= {"source", "identity"}
    names = request.metrics or tuple(registry.names("metrics"))
    specs = [registry.metric(name) for name in dict.fromkeys(names)]
    possible = [s for s in specs if s.against in has]
    impossible = [s for s in specs if s.against not in has]
    if request.metrics and impossible:
        needs = "; ".join(f"{s.id} (needs {OBSTACLES[s.against]})" for s in impossible)
        raise UsageError(f"these metrics have nothing to compare with: {needs}.")
    with assets.BarProgress(console) as progress:
        missing = assets.ensure(dict.fromkeys(a for s in possible for a in s.assets), progress)
    lacking = {s.id: "weights" for s in possible if any(a in missing for a in s.assets)}
    if request.metrics and lacking:
        raise UsageError("\n".join(f"{missing[a]}" for a in missing))
    return possible, lacking


def score_frames(
    request: Request, out: Path, command: Sequence[str], device: str, batch: int
) -> tuple[Path, RunRecord]:
    """Score and record as a run, so that ``avatarbench table`` can put it beside others.

    All that can be wrong with the request is found before the run has a folder.
    """
    refuse_stand_in(request.predictions.path)
    ids = _check_ids(request)
    specs, lacking = choose_metrics(request)
    for spec in specs:
        if spec.kind == "set" and min(len(ids), len(request.predictions.images)) < spec.minimum:
            lacking.setdefault(spec.id, f"{len(ids)} frames, needs {spec.minimum}")
    metrics = [s for s in specs if s.id not in lacking]
    if not metrics:
        raise UsageError("no metric is left to run: " + "; ".join(f"{k}: {v}" for k, v in lacking.items()))
    where, size = device_name(device), _size(request.references)
    folder = new_folder(out, f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{FRAMES}")
    record = _record(request, specs, lacking, len(ids), command, folder.name, size)
    with recording(record, folder):
        with closing(Scorer(metrics, FeatureCache.default(), where, batch)) as scorer:
            scores = _score_pairs(request, ids, scorer)
            sets, sizes = _score_sets(request, ids, [m for m in metrics if m.kind == "set"], scorer)
        at = [Where(name, "", request.references.path.name, i) for i, name in enumerate(ids)]
        samples = rows(FRAMES, at, [request.name], [m for m in metrics if m.kind == "pair"], scores)
        write_samples(samples, folder)
        notes = [*request.predictions.notes(), *request.references.notes()]
        finish(record, samples, sets, sizes, notes, len(ids))
    return folder, record


def refuse_stand_in(path: Path) -> None:
    """Frames that a run keeps of what only stood in for a method are no way around its mark, whatever they are named.

    Raises UsageError.
    """
    whole = path.resolve()
    for folder in whole.parents:
        if not (folder / "run.json").is_file():
            continue
        try:
            methods = RunRecord.load(folder).methods
        except DataError:  # somebody else's file of that name
            continue
        within = whole.relative_to(folder).parts
        if name := next((m.name for m in methods if m.stands_in and m.id in within), None):
            raise UsageError(
                f"{path} holds frames of {name} in the run {folder}: what stands in for a method is not scored."
            )


def _size(frames: Frames) -> int:
    """The longer side of the first frame that can be read. Raises DataError where none can."""
    error: DataError | None = None
    for image in frames.images.values():
        try:
            return max(image.load().shape[:2])
        except DataError as unreadable:  # it costs its own frame when that is scored
            error = error or unreadable
    raise DataError(f"none of the {len(frames.images)} frames of {frames.path} can be read. The first: {error}")


def _check_ids(request: Request) -> list[str]:
    """Reference ids in the order of the frames; one without prediction is a missing sample.

    Raises DataError for a prediction without reference, and where no names agree.
    """
    predicted, real = request.predictions.images, request.references.images
    extra = sorted(predicted.keys() - real.keys())
    shared = predicted.keys() & real.keys()
    counts = f"{request.predictions.path} has {len(predicted)} frames, {request.references.path} has {len(real)}"
    if extra:
        shown = ", ".join(extra[:5]) + (", ..." if len(extra) > 5 else "")
        raise DataError(f"{counts}, and {len(extra)} predictions have no reference of the same name ({shown}).")
    if not shared:
        raise DataError(f"{counts}, and no names agree. Frames are paired by file name, never by position.")
    return list(real)


def _score_pairs(request: Request, ids: list[str], scorer: Scorer) -> Scores:
    source = next(iter(request.source.images.values())) if request.source else None
    groups = []
    for name in ids:
        real = request.references.images[name]
        references: dict[Against, LazyImage] = {"driver": real}
        if source is not None:
            references["source"] = references["identity"] = source
        if request.task == "self":
            references["target"] = references["identity"] = real
        prediction = request.predictions.images.get(name) or Missing("no prediction of this name")
        groups.append([Item(name, request.name, prediction, references)])
    scores: Scores = {}
    with progress_bar() as progress:
        task = progress.add_task("score", total=len(groups))
        for values in scorer.score(groups):
            for score in values:
                scores.setdefault((score.method, score.sample), {})[score.metric] = score
            progress.advance(task)
    return scores


def _score_sets(
    request: Request, ids: list[str], metrics: list[MetricSpec], scorer: Scorer
) -> tuple[list[Result], dict[str, int]]:
    predictions = [request.predictions.images[name] for name in ids if name in request.predictions.images]
    references = [request.references.images[name] for name in ids]
    results, sizes = [], {}
    for metric in metrics:
        found = scorer.set_value(metric.id, predictions, references)
        sizes[metric.id] = found.n_reference
        results.append(set_result(request.name, metric.id, found.value, found.n_prediction, len(ids), found.reason))
    return results, sizes


def _record(
    request: Request,
    specs: list[MetricSpec],
    lacking: dict[str, str],
    n: int,
    command: Sequence[str],
    run_id: str,
    size: int,
) -> RunRecord:
    pairs = {"references": request.references.digest, "task": request.task}
    if request.source is not None:
        pairs["source"] = request.source.digest
    digest = hashlib.sha256(json.dumps(pairs, sort_keys=True).encode()).hexdigest()
    return RunRecord(
        id=run_id,
        status="running",
        created=datetime.now(UTC),
        command=list(command),
        config={"predictions": str(request.predictions.path), "references": str(request.references.path)},
        seed=0,
        protocol=ProtocolRecord(
            id=FRAMES,
            version=1,
            name=f"frames of {request.references.path.name}",
            task=request.task,
            manifest=digest,
            pairs=n,
            size=size,
            spec={"summary": "frames given by the user, paired by name"},
        ),
        methods=[
            MethodRecord(
                id=request.name,
                name=request.name,
                role="method",
                spec={"summary": "frames given by the user", "digest": request.predictions.digest},
                frames=len(request.predictions.images),
            )
        ],
        metrics=[describe_metric(s, lacking.get(s.id)) for s in specs],
        environment=describe_environment(),
    )
