"""One set metric over a run: per-frame features kept by digest, then statistics, then the value."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import Unscorable
from avatarbench.metric import MetricSpec
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.features import Frame, Missing
from avatarbench.metrics.reasons import sample_reason

if TYPE_CHECKING:
    from avatarbench.metrics.scorer import LazyImage

Load = Callable[["LazyImage"], Frame | Missing]


@dataclass(frozen=True)
class SetResult:
    """A set metric's value, or NaN and the reason.

    ``n_prediction`` and ``n_reference`` count the frames behind it. ``features`` (n_prediction, D) float32 and ``keys``
    are the predictions', in order; ``skipped`` gives the reason of every image, of either side, that has no features.
    """

    value: float
    reason: str | None
    n_prediction: int
    n_reference: int
    features: NDArray[np.float32]
    keys: list[str]
    skipped: dict[str, str]


class SetScores:
    """The features that one set metric has seen, by frame digest."""

    def __init__(self, spec: MetricSpec, metric: Any, engine: FeatureEngine, batch: int) -> None:
        self._spec = spec
        self._metric = metric
        self._engine = engine
        self._batch = batch
        self._features: dict[str, NDArray[np.float32] | str] = {}
        self._width: int | None = None
        self._reference: tuple[tuple[str, ...], Any] | None = None

    def keep(self, frame: Frame) -> None:
        """Remember the features of a frame that carries its extractors' outputs, or the reason why there are none."""
        if frame.digest in self._features or not all(frame.has(name) for name in self._spec.extractors):
            return
        try:
            features = np.asarray(self._metric.features(frame), np.float32)
        except Exception as error:  # a metric may be anybody's code
            self._features[frame.digest] = sample_reason(error)
        else:
            self._features[frame.digest] = self._fault(features) or features

    def _fault(self, features: NDArray[np.float32]) -> str | None:
        """Why one frame's features cannot stand beside the others', or None. The first good ones set the length."""
        if features.ndim != 1 or features.size == 0:
            return f"{self._spec.id}: the features have the shape {features.shape}, expected (D,)"
        if self._width not in (None, len(features)):
            return f"{self._spec.id}: {len(features)} features, the frames before have {self._width}"
        bad = np.flatnonzero(~np.isfinite(features))
        if bad.size:
            return f"{self._spec.id}: feature {bad[0]} of {len(features)} is {features[bad[0]]}"
        self._width = len(features)
        return None

    def value(
        self, predictions: Iterable[LazyImage], references: Iterable[LazyImage], digests: Mapping[str, str], load: Load
    ) -> SetResult:
        """Features -> statistics -> value. ``digests`` (image key -> digest) grows as ``load`` reads images."""
        skipped: dict[str, str] = {}
        ours = self._collect(predictions, digests, load, skipped)
        theirs = self._collect(references, digests, load, skipped)
        features = np.stack([self._found(d) for _, d in ours]) if ours else np.zeros((0, 0), np.float32)
        value, reason = math.nan, self._too_few(len(ours), len(theirs))
        if reason is None:
            value, reason = self._compare(features, tuple(digest for _, digest in theirs))
        return SetResult(value, reason, len(ours), len(theirs), features, [key for key, _ in ours], skipped)

    def _compare(self, features: NDArray[np.float32], reference: tuple[str, ...]) -> tuple[float, str | None]:
        try:
            if self._reference is None or self._reference[0] != reference:  # one reference set serves several methods
                self._reference = reference, self._metric.statistics(np.stack([self._found(d) for d in reference]))
            value = float(self._metric.value(self._metric.statistics(features), self._reference[1]))
        except Exception as error:  # as above
            return math.nan, sample_reason(error)
        return (value, None) if math.isfinite(value) else (math.nan, f"{self._spec.id} is {value} here")

    def _too_few(self, ours: int, theirs: int) -> str | None:
        least = self._spec.minimum
        for count, side in ((ours, "prediction"), (theirs, "reference")):
            if count < least:
                return f"{count} {side} frames with features, {self._spec.id} needs at least {least}"
        return None

    def _found(self, digest: str) -> NDArray[np.float32]:
        found = self._features[digest]
        if isinstance(found, str):
            raise Unscorable(found)
        return found

    def _collect(
        self, images: Iterable[LazyImage], digests: Mapping[str, str], load: Load, skipped: dict[str, str]
    ) -> list[tuple[str, str]]:
        """(key, digest) of the images that have features, in order; the others go to ``skipped``."""
        keys: list[str] = []
        waiting: list[Frame] = []
        for image in images:
            keys.append(image.key)
            if digests.get(image.key) in self._features:
                continue
            frame = load(image)
            if isinstance(frame, Missing):
                skipped[image.key] = frame.reason
                continue
            waiting.append(frame)
            if len(waiting) >= self._batch:
                self._extract(waiting)
                waiting = []
        self._extract(waiting)
        usable = []
        for key in keys:
            if key in skipped:
                continue
            found = self._features[digests[key]]
            if isinstance(found, str):
                skipped[key] = found
            else:
                usable.append((key, digests[key]))
        return usable

    def _extract(self, frames: list[Frame]) -> None:
        self._engine.extract(frames, dict.fromkeys(self._spec.extractors, False))
        for frame in frames:
            self.keep(frame)
