"""Resolve: from a protocol's rule and seed, and the data that is there, to who drives whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from avatarbench.dataset import Dataset, frame_number_of, identity_of, mask_of
from avatarbench.errors import DataError
from avatarbench.protocol import FrameRef, ImageContract, Manifest, Pair, ProtocolSpec, Split
from avatarbench.run.draws import ordered, sample, spread
from avatarbench.run.people import Person, by_name, passed, usable
from avatarbench.run.sources import FaceJudge, Judge, middle_frame

SHOWN = 5
"""Reasons that a note lists before it only counts."""


@dataclass(frozen=True)
class Resolved:
    """The pairs of a protocol on one data folder, and what a reader has to know of how they came about."""

    manifest: Manifest
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Cast:
    """A person with the source frame and the driver frames that the rule draws of it."""

    person: Person
    source: FrameRef
    own: tuple[FrameRef, ...]


def resolve(
    spec: ProtocolSpec,
    dataset: Dataset,
    judge: Judge | None = None,
    advance: Callable[[], None] = lambda: None,
) -> Resolved:
    """Draw people, sources, cameras and frames by ``spec.split``. ``judge`` finds faces, the landmarker by default;
    ``advance`` is called for every person that is found.

    Data with fewer people, cameras or frames than the rule asks for gives what it has, and a note with the numbers;
    who is passed over is named with the reason. Raises DataError where no pair is left, AssetError where the
    landmarker is missing.
    """
    split = _split(spec)
    people = by_name(spec, dataset)
    skipped: list[str] = []
    with nullcontext(judge) if judge is not None else FaceJudge() as look:
        reserved = _reserved(spec, dataset, people, skipped)
        aside = {person.name for person in reserved}
        cast: list[_Cast] = []
        for name in ordered(split.seed, "source", people.keys() - aside):
            if len(cast) == split.people:
                break
            try:
                cast.append(_cast(spec, dataset, usable(spec, dataset, people[name]), look))
            except DataError as error:
                skipped.append(f"{name}: {error}")
                continue
            advance()
    if not cast:
        raise DataError(
            f"'{spec.id}' finds nobody to take a source from: {passed(skipped, SHOWN) or 'the folder has nobody else'}"
        )
    pairs = tuple(_pairs(spec, dataset, cast, reserved))
    contract, why = _contract(spec, dataset, pairs)
    notes = [*_counts(split, cast, reserved, pairs), *why]
    if skipped:
        notes.append(f"passed over: {passed(skipped, SHOWN)}")
    return Resolved(Manifest(spec.id, spec.version, contract, pairs), tuple(notes))


def own_frames(spec: ProtocolSpec, dataset: Dataset, sources: Sequence[FrameRef]) -> list[FrameRef]:
    """The real frames that the rule draws of the people of ``sources``, each source first: what cross-reenactment
    compares sets with. Raises DataError where one of them is not in the data."""
    people = by_name(spec, dataset)
    found = []
    for source in sources:
        name = identity_of(dataset, source.sequence) if _split(spec).recording else source.sequence
        if name not in people:
            raise DataError(f"'{name}', who is a source of '{spec.id}', is not in the data.")
        found += [source, *_drawn(spec, dataset, usable(spec, dataset, people[name]), source.index)]
    return found


def _split(spec: ProtocolSpec) -> Split:
    if spec.split is None:
        raise DataError(f"'{spec.id}' has no rule to resolve: its pairs follow from its selections.")
    return spec.split


def _reserved(
    spec: ProtocolSpec, dataset: Dataset, people: dict[str, Person], skipped: list[str]
) -> tuple[Person, ...]:
    """Who is set aside for drivers, the first that can be used. One person alone is nobody's driver, and a source."""
    split = _split(spec)
    found: list[Person] = []
    for name in ordered(split.seed, "driver", people) if len(people) > 1 else ():
        if len(found) == split.reserved:
            break
        try:
            found.append(usable(spec, dataset, people[name]))
        except DataError as error:
            skipped.append(f"{name}: {error}")
    return tuple(found)


def _cast(spec: ProtocolSpec, dataset: Dataset, person: Person, judge: Judge) -> _Cast:
    split = _split(spec)
    at = middle_frame(split.seed, dataset, person.source, judge) if split.source == "middle" else 0
    source = FrameRef(spec.sources.dataset, person.source, at, dataset.digest(person.source))
    own = tuple(_drawn(spec, dataset, person, at))
    if not own:
        raise DataError(f"no frame but the source is left of {', '.join(person.drivers)}")
    return _Cast(person, source, own)


def _drawn(spec: ProtocolSpec, dataset: Dataset, person: Person, source: int | None) -> Iterator[FrameRef]:
    """The driver frames of a person; the time step of its ``source`` frame is not among them, in any camera."""
    split = _split(spec)
    step = None if source is None else frame_number_of(dataset, person.source, source)
    for sequence in person.drivers:
        count = dataset.length(sequence)
        free = [i for i in range(count) if step is None or frame_number_of(dataset, sequence, i) != step]
        chosen = spread(free, split.frames) if split.draw == "spread" else None
        digest = dataset.digest(sequence)
        for index in chosen if chosen is not None else sample(split.seed, sequence, free, split.frames):
            yield FrameRef(spec.drivers.dataset, sequence, index, digest)


def _pairs(spec: ProtocolSpec, dataset: Dataset, cast: Sequence[_Cast], reserved: Sequence[Person]) -> Iterator[Pair]:
    for place, one in enumerate(cast):
        for driver in _drivers(spec, dataset, cast, place, reserved):
            target = driver if spec.task == "self" else None
            yield Pair(f"{one.source.name}/{driver.sequence}/{driver.index:06d}", one.source, driver, target)


def _drivers(
    spec: ProtocolSpec, dataset: Dataset, cast: Sequence[_Cast], place: int, reserved: Sequence[Person]
) -> Sequence[FrameRef]:
    split = _split(spec)
    if split.drivers == "own":
        return cast[place].own
    if split.drivers == "fixed":
        if not reserved:
            raise DataError(f"'{spec.id}' drives everybody by one more person, and the folder has one person alone.")
        return list(_drawn(spec, dataset, reserved[0], None))
    mine = identity_of(dataset, cast[place].source.sequence)
    for other in (*cast[place + 1 :], *cast[:place]):
        if identity_of(dataset, other.source.sequence) != mine:
            return other.own
    raise DataError(f"'{spec.id}' drives each clip by another person's, and the folder has clips of one person alone.")


def _contract(spec: ProtocolSpec, dataset: Dataset, pairs: Sequence[Pair]) -> tuple[ImageContract, list[str]]:
    """The image contract as this data can meet it: a background is removed everywhere or nowhere."""
    if spec.image.background == "kept":
        return spec.image, []
    without, count = without_masks(dataset, pairs)
    if not without:
        return spec.image, []
    note = (
        f"backgrounds are kept, not {spec.image.background}: {len(without)} of {count} sequences have no masks "
        f"(the first: {without[0]})"
    )
    return replace(spec.image, background="kept"), [note]


def without_masks(dataset: Dataset, pairs: Sequence[Pair]) -> tuple[list[str], int]:
    """Sequences of the pairs that have no masks, with the error where there is one, and how many sequences there are.

    A mask is looked at on one frame of each.
    """
    refs = {ref.sequence: ref for pair in pairs for ref in (pair.driver, pair.source)}
    without = []
    for sequence, ref in sorted(refs.items()):
        try:
            if mask_of(dataset, sequence, ref.index) is None:
                without.append(sequence)
        except DataError as error:
            without.append(f"{sequence} ({error})")
    return without, len(refs)


def _counts(split: Split, cast: Sequence[_Cast], reserved: Sequence[Person], pairs: Sequence[Pair]) -> Iterator[str]:
    """Where the data has less than the rule asks for."""
    what = "people" if split.recording else "clips"
    if len(cast) < split.people:
        yield f"{len(cast)} of the {split.people} {what} that the rule asks for are in the data"
    everybody = reserved if split.drivers == "fixed" else [c.person for c in cast]
    if split.cameras is not None:
        few = [p for p in everybody if len(p.drivers) < split.cameras.count]
        if few:
            yield (
                f"{len(few)} of {len(everybody)} drivers have fewer than {split.cameras.count} target cameras (the "
                f"first: {few[0].name} has {len(few[0].drivers)})"
            )
    drawn = Counter(ref.sequence for ref in {pair.driver for pair in pairs})
    short = sorted(s for s, n in drawn.items() if n < split.frames)
    if short:
        yield (
            f"{len(short)} of {len(drawn)} driver sequences have fewer than {split.frames} frames to draw: they give "
            f"all (the first: {short[0]} gives {drawn[short[0]]})"
        )
