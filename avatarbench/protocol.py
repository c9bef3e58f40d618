"""The protocol contract: data that says who drives whom, under which image contract, and which metrics judge it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from avatarbench.method import Need

Task = Literal["self", "cross"]
FRAMES = "frames"
"""Stands for a protocol where a user's own frames were scored: there is no manifest of ours behind them."""


@dataclass(frozen=True)
class Selection:
    """Frames of a dataset: ``start``, ``start + stride``, ... of every sequence; at most ``limit`` a sequence.

    ``sequences`` are patterns of names (``*``, ``?``, ``[...]``, case counts), of which one has to match; none means
    every sequence.
    """

    dataset: str
    start: int = 0
    stride: int = 1
    limit: int | None = None
    sequences: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageContract:
    """How every image of a protocol is brought to one frame.

    A square around the face of the sequence's first frame that has one, ``scale`` times the face's larger side, at most
    the image's shorter side and shifted inside it (no invented pixels), resampled once to ``size`` by Lanczos. With
    ``crop="none"`` the square is the image's largest centred one.
    """

    size: int = 256
    crop: Literal["face", "none"] = "face"
    scale: float = 1.8


@dataclass(frozen=True)
class ProtocolSpec:
    """A protocol as data. ``provides`` is matched against ``MethodSpec.needs`` before anything is rendered.

    ``self`` pairs a source with the drivers of its own identity, ``cross`` with those of every other; the source frame
    itself drives nobody.

    ``reference`` names the real frames that set metrics compare with: ``targets``, or ``identity``: the frames of the
    source identities in ``references``, without which the sources' own sequences serve.

    ``truth`` names the sequence that holds the true frames of cross-reenactment, at the driver's index, e.g.
    ``"{source}_{sequence}-AS-{driver}_{camera}"``: ``source`` and ``driver`` are identities; ``sequence`` and
    ``camera`` are cut out of the driver sequence's name at its first and last underscore. ``manifest`` is where the
    resolved pairs ship, ``"package:path"``.
    """

    id: str
    version: int
    name: str
    task: Task
    summary: str
    sources: Selection
    drivers: Selection
    metrics: tuple[str, ...]
    provides: tuple[Need, ...]
    image: ImageContract = ImageContract()
    reference: Literal["targets", "identity"] = "targets"
    references: Selection | None = None
    truth: str = ""
    manifest: str = ""
    notes: str = ""

    @property
    def datasets(self) -> tuple[str, ...]:
        """Ids of the datasets that it reads, each once."""
        selections = (self.sources, self.drivers, *((self.references,) if self.references else ()))
        return tuple(dict.fromkeys(s.dataset for s in selections))


@dataclass(frozen=True)
class FrameRef:
    """One frame of one dataset. ``digest`` is the sha256 of the file that holds it."""

    dataset: str
    sequence: str
    index: int
    digest: str

    @property
    def name(self) -> str:
        """Of a source, in sample ids and avatar files."""
        return self.sequence if self.index == 0 else f"{self.sequence}@{self.index:06d}"


@dataclass(frozen=True)
class Pair:
    """One sample: ``source`` is animated by ``driver``; ``target`` is the true frame, where there is one.

    ``id`` is unique in the manifest and stable under subsetting: ``<source>/<driver sequence>/<frame>``.
    """

    id: str
    source: FrameRef
    driver: FrameRef
    target: FrameRef | None


@dataclass(frozen=True)
class Manifest:
    """The resolved pairs of a protocol, in a fixed order, with a hash that is part of the protocol's identity."""

    protocol: str
    version: int
    image: ImageContract
    pairs: tuple[Pair, ...]

    def digest(self) -> str:
        """sha256 of the canonical JSON: equal pairs, contract and file contents give an equal digest."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()
