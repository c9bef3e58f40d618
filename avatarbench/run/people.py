"""Whom a data folder shows, and through which cameras, as a protocol's rule asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from avatarbench.dataset import Dataset, camera_of, identity_of
from avatarbench.errors import DataError
from avatarbench.method import Camera
from avatarbench.protocol import Cameras, ProtocolSpec, Selection
from avatarbench.run.draws import ordered
from avatarbench.run.plan import SAFE_NAME


@dataclass(frozen=True)
class Person:
    """An identity, or a clip: the sequence of its source and those of its driver frames."""

    name: str
    source: str
    drivers: tuple[str, ...]


def by_name(spec: ProtocolSpec, dataset: Dataset) -> dict[str, Person]:
    """Everybody whom the protocol's selections match, by names alone: no file is opened. Raises DataError for nobody.

    Where the rule names a recording, a person is an identity with that recording from its frontal camera and whatever
    other cameras there are; else every sequence is a clip that is its own person.
    """
    split = spec.split
    names = [name for name in dataset.sequences() if SAFE_NAME.fullmatch(name)]
    sources = [name for name in names if _matches(name, spec.sources)]
    if not sources:
        known = list(dataset.sequences())
        raise DataError(
            f"'{spec.id}' takes its sources from sequences like {' or '.join(spec.sources.sequences) or '*'}, and the "
            f"folder has none; it has {', '.join(known[:5]) or 'nothing'}{', ...' if len(known) > 5 else ''}."
        )
    if split is None or not split.recording:
        return {name: Person(name, name, (name,)) for name in sources}
    takes: dict[str, list[str]] = {}
    for name in names:
        if _matches(name, spec.drivers):
            takes.setdefault(identity_of(dataset, name), []).append(name)
    owners = {identity_of(dataset, source): source for source in sources}
    return {identity: Person(identity, source, tuple(takes.get(identity, ()))) for identity, source in owners.items()}


def usable(spec: ProtocolSpec, dataset: Dataset, person: Person) -> Person:
    """``person`` with the target cameras that the rule draws. Raises DataError, saying why, where it cannot serve."""
    if spec.split is not None and spec.split.cameras is not None:
        chosen = target_cameras(spec.split.seed, spec.split.cameras, dataset, person.drivers)
        person = Person(person.name, person.source, chosen)
    if not person.drivers:
        raise DataError("it has no sequence that could drive")
    for sequence in dict.fromkeys((person.source, *person.drivers)):
        if (count := dataset.length(sequence)) < 2:
            raise DataError(f"'{sequence}' has {count} frame{'s' if count != 1 else ''}")
    return person


def target_cameras(seed: int, rule: Cameras, dataset: Dataset, takes: Sequence[str]) -> tuple[str, ...]:
    """Of one person's ``takes``, a sequence a camera, those of the target cameras, the frontal one first.

    Raises DataError where the frontal camera or the calibration is missing or damaged.
    """
    by_serial = {take.rpartition("_")[2]: take for take in takes}
    if rule.frontal not in by_serial:
        raise DataError(f"it lacks the frontal camera {rule.frontal}")
    front = _camera(dataset, by_serial[rule.frontal])
    others = ordered(seed, "camera", by_serial.keys() - {rule.frontal})
    near = [s for s in others if angle(front, _camera(dataset, by_serial[s])) <= rule.within]
    return tuple(by_serial[serial] for serial in (rule.frontal, *near[: rule.count - 1]))


def angle(a: Camera, b: Camera) -> float:
    """Degrees between the directions that two cameras look in."""
    first, second = (camera.world_to_camera[2, :3] for camera in (a, b))
    cosine = np.dot(first, second) / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def passed(reasons: Sequence[str], shown: int) -> str:
    """Reasons in one line, the first of them in full."""
    rest = len(reasons) - shown
    return "; ".join(reasons[:shown]) + (f"; and {rest} more" if rest > 0 else "")


def _camera(dataset: Dataset, sequence: str) -> Camera:
    camera = camera_of(dataset, sequence)
    if camera is None:
        raise DataError("it has no calibration")
    return camera


def _matches(name: str, selection: Selection) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in selection.sequences or ("*",))
