"""The protocol contract: data that says who drives whom, under which image contract, and which metrics judge it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from avatarbench.method import Background, Need

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
    the image's shorter side and shifted inside it (no invented pixels), resampled once to ``size`` by ``resampling``.
    With ``crop="none"`` the square is the image's largest centred one. ``background``: ``kept``, or what the dataset's
    mask calls background is this colour before the resampling. Values are ``colour``, as stored, never linearised.
    """

    size: int = 256
    crop: Literal["face", "none"] = "face"
    scale: float = 1.8
    background: Background = "kept"
    resampling: Literal["lanczos"] = "lanczos"
    colour: Literal["sRGB"] = "sRGB"


_LATER = {"background": "kept", "resampling": "lanczos", "colour": "sRGB"}
"""Fields that contracts did not always have, with what held before: a digest names them only where they differ."""


@dataclass(frozen=True)
class Cameras:
    """The target cameras of a recording: the frontal one, and others in an order that the seed gives to serials.

    Of those whose axis is at most ``within`` degrees from the frontal one's, the first of that order, ``count`` with
    the frontal one. The order does not depend on who has which camera: people with equal cameras get equal ones.
    """

    frontal: str
    count: int
    within: float


@dataclass(frozen=True)
class Split:
    """The rule that draws a protocol's people, sources, cameras and frames from data that may not ship.

    ``people``: how many identities (clips, where a clip is all there is of a person), in an order that the seed gives
    to names, so that a missing one is replaced and moves nobody else. ``recording``: NeRSemble's sequence; none where
    each sequence is a clip. ``source``: frame 0, or a frame of the middle half that shows the whole face
    (:mod:`avatarbench.run.sources`). ``frames``: driver frames of each driver sequence, ``spread`` evenly or drawn at
    ``random``. ``drivers``: the person's ``own`` frames; one ``fixed`` person's, who is nobody's source; or those of
    the ``next`` clip in the order of the seed. ``reserved``: people set aside for drivers, left out of the sources of
    every protocol on this data.
    """

    seed: int
    people: int
    frames: int
    drivers: Literal["own", "fixed", "next"]
    source: Literal["first", "middle"] = "first"
    draw: Literal["spread", "random"] = "random"
    recording: str = ""
    cameras: Cameras | None = None
    reserved: int = 0


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

    ``split``: a rule that draws sources and drivers out of ``sources`` and ``drivers``, for data that cannot ship; the
    pairs are resolved where the data is. ``stated`` is what the papers say of the protocol, a sentence each, and
    ``ours`` what they leave open and we chose.
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
    split: Split | None = None
    stated: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()

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
        content = asdict(self)
        for name, before in _LATER.items():
            if content["image"][name] == before:
                del content["image"][name]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()
