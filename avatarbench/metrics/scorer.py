"""The scorer: groups of predictions against their references, each image through each network once."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench import registry
from avatarbench.errors import AvatarbenchError, UnknownNameError
from avatarbench.metric import Against, MetricSpec
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.features import Frame, Missing
from avatarbench.metrics.heap import return_free_memory
from avatarbench.metrics.reasons import sample_reason
from avatarbench.metrics.set_scores import SetResult, SetScores

RECENT = 32
"""Portraits kept decoded: they recur in every group, and their features with them."""

RETURN_EVERY = 64
"""Predictions after which freed memory goes back to the system."""


@dataclass(frozen=True)
class LazyImage:
    """An image that is read when it is needed. Equal keys mean equal pixels; ``load`` gives (H, W, 3) uint8 sRGB."""

    key: str
    load: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class Item:
    """One prediction with what it may be compared with. ``Missing`` stands for a frame that was not rendered."""

    sample: str
    method: str
    prediction: LazyImage | Missing
    references: Mapping[Against, LazyImage]


@dataclass(frozen=True)
class Score:
    """One value of one pair metric, or NaN and the reason. ``note`` tells a reader more of a valid value."""

    sample: str
    method: str
    metric: str
    value: float
    reason: str | None
    note: str | None


class Scorer:
    """Scores groups in order, in memory bounded by ``batch`` images, however many groups there are.

    A group holds the items that share a driver or target frame, usually several methods' renderings of it.
    """

    def __init__(self, metrics: Sequence[MetricSpec], cache: FeatureCache, device: str = "cpu", batch: int = 8) -> None:
        self._pairs = [(spec, _build(spec)) for spec in metrics if spec.kind == "pair"]
        self._batch = max(1, batch)
        self._engine = FeatureEngine([name for spec in metrics for name in spec.extractors], cache, device)
        self._sets = {
            spec.id: SetScores(spec, _build(spec), self._engine, self._batch) for spec in metrics if spec.kind == "set"
        }
        self._digests: dict[str, str] = {}
        self._unreturned = 0
        self._recent: OrderedDict[str, Frame] = OrderedDict()
        set_needs: dict[str, bool] = {n: False for s in metrics if s.kind == "set" for n in s.extractors}
        self._needs: dict[Against, dict[str, bool]] = {"target": dict(set_needs)} if set_needs else {}
        self._prediction_needs = dict(set_needs)
        for spec, _ in self._pairs:
            for needs in (self._needs.setdefault(spec.against, {}), self._prediction_needs):
                for name in spec.extractors:
                    needs[name] = needs.get(name, False) or spec.activations

    def score(self, groups: Iterable[Sequence[Item]]) -> Iterator[list[Score]]:
        """One list a group, in order: a Score for every item and pair metric, in the order they were given."""
        waiting: list[Sequence[Item]] = []
        keys: set[str] = set()
        for group in groups:
            new = {image.key for item in group for image in self._images(item)}
            if waiting and len(keys | new) > self._batch:
                yield from self._score_groups(waiting)
                waiting, keys = [], set()
            waiting.append(group)
            keys |= new
        if waiting:
            yield from self._score_groups(waiting)

    def set_value(self, metric: str, predictions: Iterable[LazyImage], references: Iterable[LazyImage]) -> SetResult:
        """The value of a set metric. Images that :meth:`score` has seen, or the cache knows, pass through no network.

        Raises UnknownNameError for a metric that is not one of this scorer's set metrics.
        """
        if metric not in self._sets:
            raise UnknownNameError(f"'{metric}' is not a set metric here{registry.suggest(metric, list(self._sets))}")
        return self._sets[metric].value(predictions, references, self._digests, self._load)

    def close(self) -> None:
        """Give back the networks. The cache stays open: its owner closes it."""
        self._engine.close()
        self._recent.clear()

    def _images(self, item: Item) -> list[LazyImage]:
        """The images that an item's scores need: none where the prediction is missing."""
        if isinstance(item.prediction, Missing):
            return []
        return [item.prediction, *(image for role, image in item.references.items() if role in self._needs)]

    def _score_groups(self, groups: Sequence[Sequence[Item]]) -> Iterator[list[Score]]:
        references = self._load_references([item for group in groups for item in group])
        held = {frame.digest: frame for frame in references.values() if isinstance(frame, Frame)}
        items = [item for group in groups for item in group]
        scores: list[list[Score]] = []
        for start in range(0, len(items), self._batch):
            part = items[start : start + self._batch]
            predictions = [self._prediction(item, held) for item in part]
            frames = [frame for frame in predictions if isinstance(frame, Frame)]
            self._engine.extract(frames, self._prediction_needs)
            for frame in frames:
                self._keep_set_features(frame)
            scores += [self._score_item(i, p, references) for i, p in zip(part, predictions, strict=True)]
            self._engine.release([frame for frame in frames if frame.digest not in held])
        self._engine.release(list(held.values()))
        self._unreturned += len(items)
        if self._unreturned >= RETURN_EVERY:
            self._unreturned = 0
            return_free_memory()
        remaining = iter(scores)
        for group in groups:
            yield [score for _ in group for score in next(remaining)]

    def _load_references(self, items: Sequence[Item]) -> dict[str, Frame | Missing]:
        """Reference frames by image key, with the features that their roles call for."""
        roles: dict[str, tuple[LazyImage, set[Against]]] = {}
        for item in items:
            if isinstance(item.prediction, Missing):
                continue
            for role, image in item.references.items():
                if role in self._needs:
                    roles.setdefault(image.key, (image, set()))[1].add(role)
        frames: dict[str, Frame | Missing] = {}
        by_digest: dict[str, Frame] = {}
        needs: dict[str, dict[str, bool]] = {}
        for key, (image, used) in roles.items():
            frame = self._recent.get(key) or self._load(image)
            if isinstance(frame, Frame):
                frame = by_digest.setdefault(frame.digest, frame)
                wanted = needs.setdefault(frame.digest, {})
                for role in used:
                    for name, activations in self._needs[role].items():
                        wanted[name] = wanted.get(name, False) or activations
                if "target" not in used:
                    self._remember(key, frame)
            frames[key] = frame
        alike: dict[tuple[tuple[str, bool], ...], list[Frame]] = {}
        for digest, wanted in needs.items():
            alike.setdefault(tuple(sorted(wanted.items())), []).append(by_digest[digest])
        for wanted_items, group in alike.items():
            self._engine.extract(group, dict(wanted_items))
        for key, (_, used) in roles.items():
            if "target" in used and isinstance(frame := frames[key], Frame):
                self._keep_set_features(frame)
        return frames

    def _prediction(self, item: Item, held: Mapping[str, Frame]) -> Frame | Missing:
        """The prediction's frame; one that equals a reference is that reference's frame, features and all."""
        if isinstance(item.prediction, Missing):
            return item.prediction
        frame = self._load(item.prediction)
        return held.get(frame.digest, frame) if isinstance(frame, Frame) else frame

    def _load(self, image: LazyImage) -> Frame | Missing:
        try:
            pixels = image.load()
        except AvatarbenchError as error:
            return Missing(str(error))
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
            return Missing(f"image is {pixels.shape} {pixels.dtype}, expected (H, W, 3) uint8")
        frame = Frame(pixels)
        self._digests[image.key] = frame.digest
        return frame

    def _remember(self, key: str, frame: Frame) -> None:
        self._recent[key] = frame
        self._recent.move_to_end(key)
        while len(self._recent) > RECENT:
            self._recent.popitem(last=False)

    def _keep_set_features(self, frame: Frame) -> None:
        for scores in self._sets.values():
            scores.keep(frame)

    def _score_item(
        self, item: Item, prediction: Frame | Missing, references: Mapping[str, Frame | Missing]
    ) -> list[Score]:
        scores = []
        for spec, metric in self._pairs:
            image = item.references.get(spec.against)
            reference = references.get(image.key) if image else None
            value, reason, note = _evaluate(spec, metric, prediction, reference)
            scores.append(Score(item.sample, item.method, spec.id, value, reason, note))
        return scores


def _build(spec: MetricSpec) -> Any:
    return registry.load(spec.factory)()


def _evaluate(
    spec: MetricSpec, metric: Any, prediction: Frame | Missing, reference: Frame | Missing | None
) -> tuple[float, str | None, str | None]:
    """Value, reason and note of one metric on one pair."""
    if isinstance(prediction, Missing):
        return math.nan, prediction.reason, None
    if reference is None:
        return math.nan, f"the sample has no {spec.against} image", None
    if isinstance(reference, Missing):
        return math.nan, f"{spec.against} image: {reference.reason}", None
    try:
        value = float(metric(prediction, reference))
    except Exception as error:  # a metric may be anybody's code: what it raises costs this sample
        return math.nan, sample_reason(error), None
    if not math.isfinite(value):
        return math.nan, f"{spec.id} is {value} here", None
    return value, None, _note(spec, metric, prediction, reference)


def _note(spec: MetricSpec, metric: Any, prediction: Frame, reference: Frame) -> str | None:
    """The metric's note on a valid value; one that cannot be had says so, and the value stands."""
    if not hasattr(metric, "note"):
        return None
    try:
        found: str | None = metric.note(prediction, reference)
    except Exception as error:  # as above
        return f"{spec.id} has no note: {sample_reason(error)}"
    return found
