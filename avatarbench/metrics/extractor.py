"""The extractor contract: what turns frames into features that several metrics share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

from avatarbench.metrics.features import Features, Frame, Missing


class Extractor(Protocol):
    """Registered under ``avatarbench.extractors``; constructed once a scoring pass with the torch device's name.

    ``requires`` names the extractors whose features must stand on the frames first. ``kept`` names the outputs that are
    numpy arrays small enough to cache; the others are activations that live in memory for the frames of one batch.
    """

    id: ClassVar[str]
    requires: ClassVar[tuple[str, ...]]
    kept: ClassVar[tuple[str, ...]]

    def __init__(self, device: str = "cpu") -> None: ...

    @property
    def fingerprint(self) -> str:
        """Hash of everything but the pixels that the output depends on: weights, preprocessing, definition version."""
        ...

    def extract(self, frames: Sequence[Frame], activations: bool) -> list[Features | Missing]:
        """Features of each frame, of any mix of sizes, in order; activations only where asked for.

        The result for a frame does not depend on the others in the batch.
        """
        ...

    def close(self) -> None:
        """Give back what the extractor holds (threads, native handles)."""
        ...
