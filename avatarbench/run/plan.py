"""Plan: from a protocol and a configuration to the list of pairs, with a hash."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from avatarbench.dataset import Dataset
from avatarbench.errors import DataError
from avatarbench.protocol import FrameRef, ImageContract, Manifest, Pair, ProtocolSpec, Selection
from avatarbench.run.config import RunConfig

SAFE_NAME = re.compile(r"[\w+@=,()-][\w.+@=,() -]*")


def select(length: int, selection: Selection) -> list[int]:
    """Frame indices of a sequence of ``length`` frames."""
    return list(range(selection.start, length, selection.stride))[: selection.limit]


def image_contract(spec: ProtocolSpec, config: RunConfig) -> ImageContract:
    """The protocol's image contract with the run's size and crop scale."""
    return replace(spec.image, size=config.image.size or spec.image.size, scale=config.image.scale or spec.image.scale)


def make_manifest(spec: ProtocolSpec, config: RunConfig, datasets: Mapping[str, Dataset]) -> Manifest:
    """Resolve who drives whom.

    ``self``: every later or earlier selected frame of the source's own sequence is driver and target, never the source
    frame itself. ``cross``: every source meets every selected frame of every driver sequence. Raises DataError where
    nothing is left.
    """
    drivers = replace(
        spec.drivers,
        start=spec.drivers.start if config.frames.start is None else config.frames.start,
        stride=config.frames.stride or spec.drivers.stride,
        limit=config.frames.limit or spec.drivers.limit,
    )
    pairs: list[Pair] = []
    for source in _frames(spec.sources, datasets):
        name = source.sequence if source.index == 0 else f"{source.sequence}@{source.index:06d}"
        # One frame more than the limit, since self-reenactment drops the source frame.
        room = None if drivers.limit is None else drivers.limit + 1
        taken: dict[str, int] = {}
        for driver in _frames(replace(drivers, limit=room), datasets):
            if spec.task == "self" and (driver.sequence != source.sequence or driver.index == source.index):
                continue
            taken[driver.sequence] = taken.get(driver.sequence, 0) + 1
            if drivers.limit is not None and taken[driver.sequence] > drivers.limit:
                continue
            target = driver if spec.task == "self" else None
            pairs.append(Pair(f"{name}/{driver.sequence}/{driver.index:06d}", source, driver, target))
    if not pairs:
        raise DataError(
            f"'{spec.id}' has no pairs: no frame of '{spec.drivers.dataset}' is left with start {drivers.start}, "
            f"stride {drivers.stride}. Use a longer video or a smaller --stride."
        )
    return Manifest(spec.id, spec.version, image_contract(spec, config), tuple(pairs))


def reference_set(spec: ProtocolSpec, manifest: Manifest, datasets: Mapping[str, Dataset]) -> list[FrameRef]:
    """The real frames that set metrics compare with: the targets, or every frame of the source identities."""
    if spec.reference == "targets":
        return list(dict.fromkeys(p.target for p in manifest.pairs if p.target is not None))
    sources = {(p.source.dataset, p.source.sequence): p.source.digest for p in manifest.pairs}
    return [
        FrameRef(dataset, sequence, index, digest)
        for (dataset, sequence), digest in sources.items()
        for index in range(datasets[dataset].length(sequence))
    ]


def _frames(selection: Selection, datasets: Mapping[str, Dataset]) -> list[FrameRef]:
    dataset = datasets[selection.dataset]
    found: list[FrameRef] = []
    for sequence in dataset.sequences():
        if not SAFE_NAME.fullmatch(sequence):
            raise DataError(
                f"dataset '{selection.dataset}' has a sequence named {sequence!r}: it cannot name a folder."
            )
        digest = dataset.digest(sequence)
        indices = select(dataset.length(sequence), selection)
        found.extend(FrameRef(selection.dataset, sequence, index, digest) for index in indices)
    return found
