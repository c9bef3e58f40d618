"""The feature engine: every feature that metrics share is extracted once a frame, or read from the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import cast

from avatarbench.errors import AvatarbenchError, UnknownNameError
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.extractor import Extractor
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.registry import suggest

GROUP = "avatarbench.extractors"


def load_extractor(name: str) -> Callable[..., Extractor]:
    """The class behind an entry point of :data:`GROUP`. Raises UnknownNameError, AvatarbenchError if broken."""
    entries = entry_points(group=GROUP)
    if name not in entries.names:
        raise UnknownNameError(f"unknown extractor '{name}'{suggest(name, sorted(entries.names))}")
    entry = entries[name]
    try:
        return cast("Callable[..., Extractor]", entry.load())
    except Exception as error:  # a third party's module may raise anything
        raise AvatarbenchError(
            f"the extractor '{name}' cannot be loaded from {entry.value}: {type(error).__name__}: {error}"
        ) from error


class FeatureEngine:
    """Puts features on frames. Extractors are imported and built when a frame first needs them."""

    def __init__(self, extractors: Sequence[str], cache: FeatureCache, device: str = "cpu") -> None:
        self.cache = cache
        self.device = device
        self._known = tuple(dict.fromkeys(extractors))
        self._built: dict[str, Extractor] = {}

    def extract(self, frames: Sequence[Frame], wanted: Mapping[str, bool]) -> None:
        """Put the features of the ``wanted`` extractors on each frame; the value says whether activations are wanted.

        Frames of equal digest pass through a network once. Where no activations are wanted, a cached frame never does.
        Raises UnknownNameError for an extractor that this engine was not made for, AssetError for missing weights.
        """
        for name in wanted:
            if name not in self._known:
                raise UnknownNameError(
                    f"extractor '{name}' is not part of this engine{suggest(name, list(self._known))}"
                )
        unique = list({frame.digest: frame for frame in frames}.values())
        for name, activations in wanted.items():
            self._ensure(name, unique, activations)
        first = {frame.digest: frame for frame in unique}
        for frame in frames:
            for name in wanted:
                found = first[frame.digest].get(name)
                if found is not None:
                    frame.put(name, found)

    def release(self, frames: Sequence[Frame]) -> None:
        """Drop activations from the frames; what is small enough to cache stays."""
        for frame in frames:
            for name, extractor in self._built.items():
                features = frame.get(name)
                if features is not None and not isinstance(features, Missing):
                    frame.put(name, {k: v for k, v in features.items() if k in extractor.kept})

    def close(self) -> None:
        """Give back what the extractors hold. The cache stays open: its owner closes it."""
        for extractor in self._built.values():
            extractor.close()
        self._built.clear()

    def _extractor(self, name: str) -> Extractor:
        if name not in self._built:
            self._built[name] = load_extractor(name)(self.device)
        return self._built[name]

    def _ensure(self, name: str, frames: Sequence[Frame], activations: bool) -> None:
        extractor = self._extractor(name)
        pending = [frame for frame in frames if not _has(frame, extractor, activations)]
        cacheable = bool(extractor.kept)
        known: Mapping[str, Features | Missing] = {}
        if pending and cacheable:
            known = self.cache.get_many(extractor.fingerprint, [frame.digest for frame in pending])
        if not activations:
            for frame in pending:
                if frame.digest in known:
                    frame.put(name, known[frame.digest])
            pending = [frame for frame in pending if frame.digest not in known]
        if not pending:
            return
        for required in extractor.requires:
            self._ensure(required, pending, False)
        results = extractor.extract(pending, activations)
        fresh: list[tuple[str, Features | Missing]] = []
        for frame, features in zip(pending, results, strict=True):
            frame.put(name, features)
            if cacheable and frame.digest not in known:
                fresh.append((frame.digest, _kept(features, extractor)))
        if fresh:
            self.cache.put_many(extractor.fingerprint, fresh)


def _kept(features: Features | Missing, extractor: Extractor) -> Features | Missing:
    if isinstance(features, Missing):
        return features
    return {name: features[name] for name in extractor.kept}


def _has(frame: Frame, extractor: Extractor, activations: bool) -> bool:
    """Whether the frame carries what is wanted; activations are the outputs that are not ``kept``."""
    features = frame.get(extractor.id)
    if features is None or isinstance(features, Missing) or not activations:
        return features is not None
    return any(name not in extractor.kept for name in features)
