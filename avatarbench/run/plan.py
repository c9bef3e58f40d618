"""Plan: from a protocol and a configuration to the list of pairs, with a hash."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from avatarbench.dataset import Dataset, frame_number_of, identity_of
from avatarbench.errors import DataError
from avatarbench.protocol import FrameRef, ImageContract, Manifest, Pair, ProtocolSpec, Selection
from avatarbench.run.config import RunConfig

SAFE_NAME = re.compile(r"[\w+@=,()-][\w.+@=,() -]*")

Datasets = Mapping[str, Dataset]


def select(length: int, selection: Selection) -> list[int]:
    """Frame indices of a sequence of ``length`` frames."""
    return list(range(selection.start, length, selection.stride))[: selection.limit]


def image_contract(spec: ProtocolSpec, config: RunConfig) -> ImageContract:
    """The protocol's image contract with the run's size and crop scale."""
    return replace(spec.image, size=config.image.size or spec.image.size, scale=config.image.scale or spec.image.scale)


def make_manifest(spec: ProtocolSpec, config: RunConfig, datasets: Datasets) -> Manifest:
    """Resolve who drives whom, by the rule of :class:`ProtocolSpec`.

    ``config.frames.limit`` is the number of driver frames a source, shared out among the driver sequences;
    ``config.sources.limit`` counts the sources that have any. Raises DataError where nothing is left, and for a true
    frame that is not there.
    """
    sources = _frames(_changed(spec.sources, config.sources.sequences), datasets)
    drivers = _changed(spec.drivers, config.frames.sequences)
    drivers = replace(
        drivers,
        start=drivers.start if config.frames.start is None else config.frames.start,
        stride=config.frames.stride or drivers.stride,
    )
    a_sequence = None if config.frames.limit else drivers.limit
    driving = _frames(replace(drivers, limit=None), datasets)
    pairs: list[Pair] = []
    for source in sources:
        if config.sources.limit is not None and len({p.source for p in pairs}) == config.sources.limit:
            break
        allowed = [d for d in driving if _may_drive(spec, source, d, datasets)]
        pairs += [
            Pair(f"{source.name}/{d.sequence}/{d.index:06d}", source, d, _target(spec, source, d, datasets))
            for d in share(allowed, a_sequence, config.frames.limit)
        ]
    if not pairs:
        raise DataError(
            f"'{spec.id}' has no pairs: no frame of '{drivers.dataset}' is left for any source with start "
            f"{drivers.start}, stride {drivers.stride}. Use a longer video, a smaller --stride or other sequences."
        )
    return Manifest(spec.id, spec.version, image_contract(spec, config), tuple(pairs))


def held_out(spec: ProtocolSpec, manifest: Manifest, config: RunConfig, datasets: Datasets) -> list[str]:
    """Sequences of the sources' dataset that nothing may be learnt from: all that the protocol takes drivers or the
    reference set from, whether this run's limits leave any of their frames or not, and those of the true frames."""
    taken = [_changed(spec.drivers, config.frames.sequences)]
    if spec.reference == "identity":
        taken.append(spec.references or _changed(spec.sources, config.sources.sequences))
    names = {name for s in taken if s.dataset == spec.sources.dataset for name in _matching(s, datasets)}
    names |= {p.target.sequence for p in manifest.pairs if p.target and p.target.dataset == spec.sources.dataset}
    return sorted(names)


def reference_set(spec: ProtocolSpec, manifest: Manifest, datasets: Datasets) -> list[FrameRef]:
    """The real frames that set metrics compare with: the targets, or the frames of the source identities."""
    if spec.reference == "targets":
        return list(dict.fromkeys(p.target for p in manifest.pairs if p.target is not None))
    if spec.references is not None:
        people = {_person(p.source, datasets) for p in manifest.pairs}
        if not _matching(spec.references, datasets):  # a set metric then says that it has no reference frames
            return []
        return [ref for ref in _frames(spec.references, datasets) if _person(ref, datasets) in people]
    sources = {(p.source.dataset, p.source.sequence): p.source.digest for p in manifest.pairs}
    return [
        FrameRef(dataset, sequence, index, digest)
        for (dataset, sequence), digest in sources.items()
        for index in range(datasets[dataset].length(sequence))
    ]


def _changed(selection: Selection, sequences: Sequence[str] | None) -> Selection:
    return replace(selection, sequences=tuple(sequences)) if sequences else selection


def _person(ref: FrameRef, datasets: Datasets) -> tuple[str, str]:
    """Who is seen: equal names in two datasets are two people."""
    return ref.dataset, identity_of(datasets[ref.dataset], ref.sequence)


def _may_drive(spec: ProtocolSpec, source: FrameRef, driver: FrameRef, datasets: Datasets) -> bool:
    same = _person(source, datasets) == _person(driver, datasets)
    return same and driver != source if spec.task == "self" else not same


def share(frames: Iterable[FrameRef], a_sequence: int | None, in_all: int | None) -> list[FrameRef]:
    """The first frames of every sequence: at most ``a_sequence`` of each, and ``in_all``, dealt out one by one."""
    by_sequence: dict[str, list[FrameRef]] = {}
    for frame in frames:
        by_sequence.setdefault(frame.sequence, []).append(frame)
    hands = [hand[:a_sequence] for hand in by_sequence.values()]
    if in_all is None:
        return [frame for hand in hands for frame in hand]
    turns = sorted((turn, place) for place, hand in enumerate(hands) for turn in range(len(hand)))[:in_all]
    return [hands[place][turn] for turn, place in sorted(turns, key=lambda t: (t[1], t[0]))]


def _target(spec: ProtocolSpec, source: FrameRef, driver: FrameRef, datasets: Datasets) -> FrameRef | None:
    """The true frame of a pair, where the protocol has one. Raises DataError where the dataset does not hold it."""
    if spec.task == "self":
        return driver
    if not spec.truth:
        return None
    dataset = datasets[source.dataset]
    sequence = _true_sequence(spec.truth, source, driver, datasets)
    step = frame_number_of(datasets[driver.dataset], driver.sequence, driver.index)
    why = f"has no sequence '{sequence}'"
    if sequence in dataset.sequences():
        if driver.index < dataset.length(sequence) and frame_number_of(dataset, sequence, driver.index) == step:
            return FrameRef(source.dataset, sequence, driver.index, dataset.digest(sequence))
        why = f"has another frame than step {step} at index {driver.index} of '{sequence}', or none"
    raise DataError(
        f"'{spec.id}' compares with the true frame of '{source.sequence}' under '{driver.sequence}', and dataset "
        f"'{source.dataset}' {why}. Use data that holds it, or a protocol without truth."
    )


def _true_sequence(pattern: str, source: FrameRef, driver: FrameRef, datasets: Datasets) -> str:
    _, _, rest = driver.sequence.partition("_")
    sequence, _, camera = rest.rpartition("_")
    return pattern.format(
        source=_person(source, datasets)[1], driver=_person(driver, datasets)[1], sequence=sequence, camera=camera
    )


def _matching(selection: Selection, datasets: Datasets) -> list[str]:
    patterns = selection.sequences or ("*",)
    return [s for s in datasets[selection.dataset].sequences() if any(fnmatchcase(s, p) for p in patterns)]


def _frames(selection: Selection, datasets: Datasets) -> list[FrameRef]:
    dataset = datasets[selection.dataset]
    chosen = _matching(selection, datasets)
    if not chosen:
        known = list(dataset.sequences())
        raise DataError(
            f"dataset '{selection.dataset}' has no sequence like {' or '.join(selection.sequences)}; "
            f"it has {', '.join(known[:5])}{', ...' if len(known) > 5 else ''}. Choose others with "
            "sources.sequences=['*_NAME_*'] and frames.sequences=['*_NAME_*']; a folder generated with "
            "--sequences PORTRAIT,FREE needs neither."
        )
    found: list[FrameRef] = []
    for sequence in chosen:
        if not SAFE_NAME.fullmatch(sequence):
            raise DataError(
                f"dataset '{selection.dataset}' has a sequence named {sequence!r}: it cannot name a folder."
            )
        digest = dataset.digest(sequence)
        indices = select(dataset.length(sequence), selection)
        found.extend(FrameRef(selection.dataset, sequence, index, digest) for index in indices)
    return found
