"""Score: every prediction against its references, grouped so that each real frame passes through the networks once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avatarbench.datasets.images import read_image
from avatarbench.errors import AvatarbenchError
from avatarbench.files import writing
from avatarbench.metric import Against, MetricSpec
from avatarbench.metrics.features import Missing
from avatarbench.metrics.scorer import Item, LazyImage, Score, Scorer
from avatarbench.protocol import FrameRef, Manifest, Pair, ProtocolSpec
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal
from avatarbench.run.record import Result
from avatarbench.run.render import Rendered, prediction_path
from avatarbench.statistics import eligible, set_result

Scores = dict[tuple[str, str], dict[str, Score]]
"""(method, sample) -> metric -> score."""


@dataclass(frozen=True)
class Scene:
    """What scoring reads: pairs, inputs, the set metrics' real frames, and what each method rendered."""

    protocol: ProtocolSpec
    manifest: Manifest
    inputs: Inputs
    references: Sequence[FrameRef]
    rendered: Mapping[str, Rendered]
    folder: Path

    def real(self, ref: FrameRef) -> LazyImage:
        return LazyImage(f"{ref.dataset}/{ref.sequence}/{ref.index}", lambda: self.inputs.image(ref))

    def prediction(self, method: str, sample: str) -> LazyImage | Missing:
        state = self.rendered[method]
        if sample in state.digests:
            path = prediction_path(self.folder, method, sample)
            return LazyImage(f"prediction/{method}/{sample}", lambda: read_image(path)[0])
        return Missing(state.failures.get(sample, "not rendered"))


def replay_scores(journal: Journal, rendered: Mapping[str, Rendered]) -> Scores:
    """What was scored before, of predictions that are still the ones that were scored."""
    found: Scores = {}
    for event in journal.read():
        if event["kind"] == "scores":
            method, sample = event["method"], event["sample"]
            if event["digest"] != rendered[method].digests.get(sample):
                continue
            found[method, sample] = {
                metric: Score(sample, method, metric, value, reason, note)
                for metric, (value, reason, note) in event["scores"].items()
            }
    return found


def score_pairs(
    scene: Scene,
    methods: Sequence[str],
    scorer: Scorer,
    scores: Scores,
    journal: Journal,
    advance: Callable[[int], None],
) -> None:
    """Score what ``scores`` lacks, into ``scores`` and the journal; ``advance`` gets the number of predictions done."""
    groups = [g for g in _groups(scene, methods, scores) if g]
    for group, values in zip(groups, scorer.score(groups), strict=True):
        by_item: Scores = {(item.method, item.sample): {} for item in group}
        for score in values:
            by_item[score.method, score.sample][score.metric] = score
        for (method, sample), found in by_item.items():
            event: dict[str, Any] = {m: [s.value, s.reason, s.note] for m, s in found.items()}
            digest = scene.rendered[method].digests.get(sample)
            journal.write("scores", method=method, sample=sample, digest=digest, scores=event)
        scores.update(by_item)
        advance(len(group))


def _groups(scene: Scene, methods: Sequence[str], scores: Scores) -> Iterator[list[Item]]:
    """Items that share a driver, in the order of the manifest's drivers."""
    by_driver: dict[FrameRef, list[Pair]] = {}
    for pair in scene.manifest.pairs:
        by_driver.setdefault(pair.driver, []).append(pair)
    for pairs in by_driver.values():
        yield [
            Item(pair.id, method, scene.prediction(method, pair.id), _references(scene, pair))
            for pair in pairs
            for method in methods
            if (method, pair.id) not in scores
        ]


def _references(scene: Scene, pair: Pair) -> dict[Against, LazyImage]:
    source, driver = scene.real(pair.source), scene.real(pair.driver)
    references: dict[Against, LazyImage] = {"source": source, "driver": driver, "identity": source}
    if pair.target is not None:
        references["target"] = scene.real(pair.target)
        if scene.protocol.task == "self":  # across identities the portrait says who it is, with truth or without
            references["identity"] = references["target"]
    return references


def score_sets(
    scene: Scene,
    methods: Sequence[str],
    metrics: Sequence[MetricSpec],
    scorer: Scorer,
    apart: Collection[str] = (),
) -> tuple[list[Result], dict[str, int]]:
    """One result a method and set metric, and the size of each metric's reference set.

    As with pair metrics the headline is over the samples that every eligible method has, because a Frechet distance
    moves with the number of frames; the methods ``apart`` take no part in that. Per-frame features are stored under
    ``features/`` of the run's folder.
    """
    results: list[Result] = []
    sizes: dict[str, int] = {}
    references = [scene.real(ref) for ref in scene.references]
    n_total = len(scene.manifest.pairs)
    images = {method: _predictions(scene, method) for method in methods}
    for metric in metrics:
        own = {method: scorer.set_value(metric.id, images[method].values(), references) for method in methods}
        have = {m: {s for s, image in images[m].items() if image.key in set(own[m].keys)} for m in methods}
        taking_part = [s for m, s in have.items() if m not in apart and eligible(len(s), n_total)]
        shared = set.intersection(*taking_part) if taking_part else set()
        for method, found in own.items():
            common = None
            if method not in apart and eligible(len(have[method]), n_total) and have[method] != shared:
                again = scorer.set_value(metric.id, [i for s, i in images[method].items() if s in shared], references)
                common = again.value, again.n_prediction
            sizes[metric.id] = found.n_reference
            results.append(
                set_result(method, metric.id, found.value, found.n_prediction, n_total, found.reason, common)
            )
            _save_features(scene.folder, method, metric.id, found.features, found.keys)
    return results, sizes


def _predictions(scene: Scene, method: str) -> dict[str, LazyImage]:
    """What ``method`` rendered, by sample, in the manifest's order."""
    cells = ((pair.id, scene.prediction(method, pair.id)) for pair in scene.manifest.pairs)
    return {sample: cell for sample, cell in cells if isinstance(cell, LazyImage)}


def _save_features(folder: Path, method: str, metric: str, features: Any, keys: Sequence[str]) -> None:
    path = folder / "features" / f"{method.replace('/', '__')}.{metric}.npz"
    with writing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, features=np.asarray(features, np.float32), keys=np.asarray(list(keys), dtype=np.str_))


@dataclass(frozen=True)
class Where:
    """The columns of ``samples.parquet`` that say which sample a row is of."""

    sample: str
    source: str
    driver: str
    frame: int


def where(pair: Pair) -> Where:
    return Where(pair.id, pair.source.sequence, pair.driver.sequence, pair.driver.index)


def rows(
    protocol: str, samples: Sequence[Where], methods: Sequence[str], metrics: Sequence[MetricSpec], scores: Scores
) -> list[dict[str, Any]]:
    """The rows of ``samples.parquet``: every sample, method and pair metric has one."""
    found = []
    for at in samples:
        for method in methods:
            for metric in metrics:
                score = scores.get((method, at.sample), {}).get(metric.id)
                if score is None:
                    raise AvatarbenchError(f"'{at.sample}' of '{method}' was not scored by '{metric.id}'")
                result = {"metric": metric.id, "value": score.value, "reason": score.reason, "note": score.note}
                found.append({"protocol": protocol, "method": method, **asdict(at), **result})
    return found
