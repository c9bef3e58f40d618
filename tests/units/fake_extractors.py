"""Extractors that count what they are given, and a scorer built on metrics over them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import Unscorable
from avatarbench.metric import MetricSpec
from avatarbench.metrics.features import Features, Frame, Missing

PASSES: Counter[tuple[str, str]] = Counter()
"""(extractor, frame digest) -> how often the frame went through it."""


class Brightness:
    """``mean`` (3,) is cached, ``pixels`` is an activation; a black frame has no features."""

    id: ClassVar[str] = "brightness"
    requires: ClassVar[tuple[str, ...]] = ()
    kept: ClassVar[tuple[str, ...]] = ("mean",)
    activations: ClassVar[tuple[str, ...]] = ("pixels",)
    fingerprint = "brightness-1"

    def __init__(self, device: str = "cpu") -> None:
        self.closed = False

    def extract(self, frames: Sequence[Frame], activations: bool) -> list[Features | Missing]:
        return [self._read(frame, activations) for frame in frames]

    def _read(self, frame: Frame, activations: bool) -> Features | Missing:
        PASSES[self.id, frame.digest] += 1
        if not frame.image.any():
            return Missing("the frame is black")
        mean = frame.image.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
        return {"mean": mean, "pixels": frame.image.astype(np.float32)} if activations else {"mean": mean}

    def close(self) -> None:
        self.closed = True


class Contrast(Brightness):
    """Reads the brightness of its frame."""

    id: ClassVar[str] = "contrast"
    requires: ClassVar[tuple[str, ...]] = ("brightness",)
    kept: ClassVar[tuple[str, ...]] = ("spread",)
    activations: ClassVar[tuple[str, ...]] = ()
    fingerprint = "contrast-1"

    def _read(self, frame: Frame, activations: bool) -> Features | Missing:
        PASSES[self.id, frame.digest] += 1
        return {"spread": np.array([frame.image.std() / frame["brightness"]["mean"].mean()], np.float32)}


class Fragile(Brightness):
    """Raises what :attr:`raises` says, on a frame that is all one level above 200 and on the batch that holds it."""

    id: ClassVar[str] = "fragile"
    raises: ClassVar[Exception] = ZeroDivisionError("too bright")
    fingerprint = "fragile-1"

    def _read(self, frame: Frame, activations: bool) -> Features | Missing:
        if frame.image.min() > 200:
            raise self.raises
        return super()._read(frame, activations)


class Resting(Brightness):
    """Has features where the fragile one has."""

    id: ClassVar[str] = "resting"
    requires: ClassVar[tuple[str, ...]] = ("fragile",)
    fingerprint = "resting-1"

    def _read(self, frame: Frame, activations: bool) -> Features | Missing:
        below = frame.get("fragile")
        return below if isinstance(below, Missing) else super()._read(frame, activations)


CLASSES: dict[str, Callable[..., Brightness]] = {kind.id: kind for kind in (Brightness, Contrast, Fragile, Resting)}


class MeanDifference:
    def __call__(self, prediction: Frame, reference: Frame) -> float:
        return float(np.abs(prediction["brightness"]["mean"] - reference["brightness"]["mean"]).mean())

    def note(self, prediction: Frame, reference: Frame) -> str | None:
        return "the same brightness" if self(prediction, reference) == 0 else None


class PixelDifference:
    def __call__(self, prediction: Frame, reference: Frame) -> float:
        if prediction.image.shape != reference.image.shape:
            raise Unscorable("sizes differ")
        return float(np.abs(prediction["brightness"]["pixels"] - reference["brightness"]["pixels"]).mean())


class Undeclared:
    def __call__(self, prediction: Frame, reference: Frame) -> float:
        return float(prediction["face"]["faces"][0])


class Exhausted:
    def __call__(self, prediction: Frame, reference: Frame) -> float:
        raise MemoryError("no room for the pair")


class BrokenNote:
    def __call__(self, prediction: Frame, reference: Frame) -> float:
        return 1.5

    def note(self, prediction: Frame, reference: Frame) -> str | None:
        raise ValueError("nothing to say")


class Infinite:
    def __call__(self, prediction: Frame, reference: Frame) -> float:
        return float("inf")


class MeanOfMeans:
    """A set metric: the distance of the mean brightnesses."""

    def features(self, frame: Frame) -> NDArray[np.float32]:
        found: NDArray[np.float32] = frame["brightness"]["mean"]
        return found

    def statistics(self, features: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.mean(features, axis=0)
        return found

    def value(self, prediction: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
        return float(np.abs(prediction - reference).mean())


class Uneven(MeanOfMeans):
    """Not finite on a frame of level 7, another length on one of level 8, a table on one of level 9."""

    def features(self, frame: Frame) -> NDArray[np.float32]:
        found = super().features(frame)
        odd = {7: np.array([1, np.nan, 2], np.float32), 8: found[:2], 9: found[None]}
        return odd.get(int(frame.image.max()), found)


class ExhaustedSet(MeanOfMeans):
    def statistics(self, features: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> NDArray[np.float32]:
        raise MemoryError("no room for the statistics")


def spec(name: str, factory: type, **changes: object) -> MetricSpec:
    values: dict[str, object] = {
        "id": name,
        "name": name,
        "version": 1,
        "kind": "pair",
        "better": "lower",
        "unit": "",
        "range": (0.0, 255.0),
        "against": "target",
        "definition": "",
        "citation": "",
        "factory": f"{__name__}:{factory.__name__}",
        "extractors": ("brightness",),
        **changes,
    }
    return MetricSpec(**values)  # type: ignore[arg-type]


MEAN = spec("mean", MeanDifference)
MEAN_SOURCE = spec("mean-source", MeanDifference, against="source")
PIXELS = spec("pixels", PixelDifference, activations=True)
INFINITE = spec("infinite", Infinite, extractors=())
SET = spec("set", MeanOfMeans, kind="set", against="real", minimum=2)
UNDECLARED = spec("undeclared", Undeclared, extractors=())
EXHAUSTED = spec("exhausted", Exhausted, extractors=())
BROKEN_NOTE = spec("broken-note", BrokenNote, extractors=())
FRAGILE = spec("fragile", BrokenNote, extractors=("fragile",))
UNEVEN = spec("uneven", Uneven, kind="set", against="real")
EXHAUSTED_SET = spec("exhausted-set", ExhaustedSet, kind="set", against="real")
