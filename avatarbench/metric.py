"""The metric contract. Pair metrics give one value a frame; set metrics are features -> statistics -> value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from avatarbench.metrics.features import Frame

Against = Literal["target", "driver", "source", "identity", "real"]
"""What a prediction is compared with. ``target``: the true frame; ``driver``: the driving frame (in self-reenactment
the target); ``source``: the portrait; ``identity``: the target in self-reenactment, the source in cross; ``real``: the
protocol's reference set (set metrics)."""


S = TypeVar("S", bound="Statistics")


@dataclass(frozen=True)
class MetricSpec:
    """All that can be said of a metric without importing torch.

    ``factory`` is ``"package.module:Class"``, called with no arguments, returning a :class:`PairMetric` or a
    :class:`SetMetric`. ``extractors`` are the features it reads (entry points ``avatarbench.extractors``); ``judge`` is
    the detector it trusts. ``activations`` says that it reads an extractor's in-memory activations as well, which are
    too large to cache. A changed definition takes a new ``version``. ``minimum`` is the least number of frames on
    either side for which the value exists.
    """

    id: str
    name: str
    version: int
    kind: Literal["pair", "set"]
    better: Literal["lower", "higher"]
    unit: str
    range: tuple[float, float]
    against: Against
    definition: str
    citation: str
    factory: str
    extractors: tuple[str, ...] = ()
    activations: bool = False
    assets: tuple[str, ...] = ()
    judge: str | None = None
    minimum: int = 1
    digits: int = 3


class PairMetric(Protocol):
    """One value from a prediction and its reference."""

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        """The value. Raises :class:`avatarbench.errors.Unscorable` where there is none."""
        ...


class Statistics(Protocol):
    """What a set metric keeps of a set of frames. Merging the parts equals computing on the whole."""

    n: int

    def merge(self, other: Self) -> Self: ...


class SetMetric(Protocol[S]):
    """A value from two sets of frames, in three pure steps that can be tested, merged and cached by themselves."""

    def features(self, frame: Frame) -> NDArray[np.float32]:
        """(D,) float32 of one frame."""
        ...

    def statistics(self, features: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> S:
        """Statistics of (N, D) features."""
        ...

    def value(self, prediction: S, reference: S) -> float: ...
