"""The extractor contract: what turns frames into features that several metrics share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from avatarbench.metrics.features import Features, Frame, Missing


class Extractor(Protocol):
    """Registered under ``avatarbench.extractors``; constructed once a scoring pass with the torch device's name.

    ``requires`` names the extractors whose features must stand on the frames first. ``kept`` names the outputs that are
    numpy arrays small enough to cache. ``activations`` names the others, which live in memory for the frames of one
    batch; an extractor that has none, ``()``, is never asked for them, whatever a metric's spec says.
    """

    id: ClassVar[str]
    requires: ClassVar[tuple[str, ...]]
    kept: ClassVar[tuple[str, ...]]
    activations: ClassVar[tuple[str, ...]]

    def __init__(self, device: str = "cpu") -> None: ...

    @property
    def fingerprint(self) -> str:
        """Hash of what the output depends on but for the pixels, ``requires`` and the device, which the engine adds:
        weights, preprocessing, definition version, and the version of every package that computes a number."""
        ...

    def extract(self, frames: Sequence[Frame], activations: bool) -> list[Features | Missing]:
        """Features of each frame, of any mix of sizes, in order; activations only where asked for.

        The result for a frame does not depend on the others in the batch. Missing says why a frame has no features; an
        exception costs the frame that raises it when it is alone, but AssetError and want of memory stop the run.
        """
        ...

    def close(self) -> None:
        """Give back what the extractor holds (threads, native handles)."""
        ...
