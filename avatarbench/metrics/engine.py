"""The feature engine: every feature that metrics share is extracted once a frame, or read from the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import cast

from avatarbench.errors import AvatarbenchError, UnknownNameError, Unscorable
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.extractor import Extractor
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.metrics.reasons import sample_reason
from avatarbench.registry import suggest

GROUP = "avatarbench.extractors"
_CONTRACT = ("id", "requires", "kept", "activations")


def load_extractor(name: str) -> Callable[..., Extractor]:
    """The class behind an entry point of :data:`GROUP`. Raises UnknownNameError, AvatarbenchError if broken."""
    entries = entry_points(group=GROUP)
    if name not in entries.names:
        raise UnknownNameError(f"unknown extractor '{name}'{suggest(name, sorted(entries.names))}")
    entry = entries[name]
    try:
        found = entry.load()
    except Exception as error:  # a third party's module may raise anything
        raise AvatarbenchError(
            f"the extractor '{name}' cannot be loaded from {entry.value}: {type(error).__name__}: {error}"
        ) from error
    lacking = [attribute for attribute in _CONTRACT if not hasattr(found, attribute)]
    if lacking:
        raise AvatarbenchError(
            f"the extractor '{name}' ({entry.value}) lacks {', '.join(lacking)}: see avatarbench.metrics.extractor."
        )
    return cast("Callable[..., Extractor]", found)


@dataclass(frozen=True)
class Failed(Missing):
    """Features that an exception cost. Its cause may be the machine's, so it is never cached, nor what rests on it."""


class FeatureEngine:
    """Puts features on frames. Extractors are imported and built when a frame first needs them."""

    def __init__(self, extractors: Sequence[str], cache: FeatureCache, device: str = "cpu") -> None:
        self.cache = cache
        self.device = device
        self._known = tuple(dict.fromkeys(extractors))
        self._built: dict[str, Extractor] = {}
        self._keys: dict[str, str] = {}

    def extract(self, frames: Sequence[Frame], wanted: Mapping[str, bool]) -> None:
        """Put the features of the ``wanted`` extractors on each frame; the value says whether activations are wanted.

        Frames of equal digest pass through a network once. Where no activations are wanted, a cached frame never does.
        What an extractor raises on a frame is that frame's reason. Raises UnknownNameError for an extractor that this
        engine was not made for, AssetError for missing weights; out of memory passes through.
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
                    frame.put(name, _kept(features, extractor))

    def close(self) -> None:
        """Give back what the extractors hold. The cache stays open: its owner closes it."""
        for extractor in self._built.values():
            extractor.close()
        self._built.clear()

    def _extractor(self, name: str) -> Extractor:
        if name not in self._built:
            self._built[name] = load_extractor(name)(self.device)
        return self._built[name]

    def _key(self, name: str) -> str:
        """The cache's key: the fingerprint, the keys of all that the extractor reads, and the kind of device, since
        another one sums in another order."""
        if name not in self._keys:
            extractor = self._extractor(name)
            below = [self._key(required) for required in extractor.requires]
            parts = [extractor.fingerprint, self.device.partition(":")[0], below]
            self._keys[name] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return self._keys[name]

    def _ensure(self, name: str, frames: Sequence[Frame], activations: bool) -> None:
        extractor = self._extractor(name)
        activations = activations and bool(extractor.activations)
        pending = [frame for frame in frames if not _has(frame, extractor, activations)]
        cacheable = bool(extractor.kept)
        known: Mapping[str, Features | Missing] = {}
        if pending and cacheable:
            known = self.cache.get_many(self._key(name), [frame.digest for frame in pending])
        for frame in pending:
            features = known.get(frame.digest)
            if features is not None and (isinstance(features, Missing) or not activations):
                frame.put(name, features)
        pending = [frame for frame in pending if not _has(frame, extractor, activations)]
        if not pending:
            return
        for required in extractor.requires:
            self._ensure(required, pending, False)
        fresh: list[tuple[str, Features | Missing]] = []
        for frame, features in zip(pending, _extract(extractor, pending, activations), strict=True):
            frame.put(name, features)
            if cacheable and frame.digest not in known and not isinstance(features, Failed):
                fresh.append((frame.digest, _kept(features, extractor)))
        if fresh:
            self.cache.put_many(self._key(name), fresh)


def _extract(extractor: Extractor, frames: Sequence[Frame], activations: bool) -> list[Features | Missing]:
    """The features of each frame. A batch that raises is tried again frame by frame: one frame costs no other."""
    try:
        found = _checked(extractor, frames, activations)
    except Exception as error:  # an extractor may be anybody's code
        reason = sample_reason(error)
        if len(frames) > 1:
            return [features for frame in frames for features in _extract(extractor, [frame], activations)]
        found = [Missing(reason) if isinstance(error, Unscorable) else Failed(f"{extractor.id}: {reason}")]
    return [_resting(extractor, frame, features) for frame, features in zip(frames, found, strict=True)]


def _checked(extractor: Extractor, frames: Sequence[Frame], activations: bool) -> list[Features | Missing]:
    found = extractor.extract(frames, activations)
    if len(found) != len(frames):
        raise ValueError(f"{len(found)} results for {len(frames)} frames")
    names = extractor.kept + (extractor.activations if activations else ())
    for features in found:
        absent = [] if isinstance(features, Missing) else [name for name in names if name not in features]
        if absent:
            raise ValueError(f"its features lack {', '.join(absent)}")
    return found


def _resting(extractor: Extractor, frame: Frame, features: Features | Missing) -> Features | Missing:
    """The features, or Failed where they are missing because what they rest on failed."""
    if isinstance(features, Missing) and any(isinstance(frame.get(name), Failed) for name in extractor.requires):
        return Failed(features.reason)
    return features


def _kept(features: Features | Missing, extractor: Extractor) -> Features | Missing:
    if isinstance(features, Missing):
        return features
    return {name: features[name] for name in extractor.kept}


def _has(frame: Frame, extractor: Extractor, activations: bool) -> bool:
    """Whether the frame carries what is wanted."""
    features = frame.get(extractor.id)
    if features is None or isinstance(features, Missing) or not activations:
        return features is not None
    return all(name in features for name in extractor.activations)
