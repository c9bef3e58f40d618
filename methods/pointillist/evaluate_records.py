"""What an evaluation finds of each person, and where it is kept until all are measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.methods.pointillist.baselines import Distances

FORMAT = 1
"""Raised when what was kept before can no longer be read, or would be measured otherwise now."""

FOLDER = ".people"
"""Of kept results, in the folder of results."""


@dataclass(frozen=True)
class Drawn:
    """One generated cloud. ``reason``: why generation ended; ``fault``: what the grammar has against the tokens, or
    None; ``seconds``: from the start of the batch it was drawn in; ``chamfer`` in metres; ``exact`` and ``near``:
    shares of points by :func:`agreement` with the tracked mesh; ``left_out``: of a consensus, draws that came to no end
    or were too small, and did not go into it. Where there is a fault there is no cloud: no points,
    and NaN for what would be measured of them."""

    seed: int
    points: int
    count_error: float
    reason: str
    fault: str | None
    seconds: float
    chamfer: float
    precision: float
    recall: float
    exact: float
    near: float
    left_out: int = 0


@dataclass(frozen=True)
class Person:
    """``points``: of the true cloud; ``exact`` and ``near``: how far the true cloud agrees with the same mesh;
    ``unmasked``: faults of sequences drawn without the grammar's masks, None where they were not drawn; ``again``: the
    Chamfer distance between two fits of this person, metres."""

    person: str
    points: int
    exact: float
    near: float
    drawn: tuple[Drawn, ...]
    baselines: Distances
    unmasked: tuple[str | None, ...] | None
    again: float | None

    @property
    def valid(self) -> tuple[Drawn, ...]:
        """The draws that are clouds."""
        return tuple(one for one in self.drawn if one.fault is None)

    def mean(self, key: str) -> float:
        """Of a field of :class:`Drawn`, over the seeds whose draws are valid; NaN where none is."""
        return float(np.mean([getattr(one, key) for one in self.valid])) if self.valid else float("nan")


class Judged(NamedTuple):
    """``teacher``: what is predicted where the true tokens come before; ``tokens``: of the first valid cloud."""

    person: Person
    teacher: dict[str, float]
    tokens: list[int] | None


class Kept:
    """Results of the people measured so far, one file each in ``out``, for the evaluation that ``about`` describes:
    weights, sets, sampling, seeds. Those of any other are never read."""

    def __init__(self, out: Path, about: Mapping[str, Any]) -> None:
        self.folder = out / FOLDER
        self._about = json.dumps({"format": FORMAT, **about}, sort_keys=True)

    def path(self, person: str) -> Path:
        """A digest's name: a person's may be no file's."""
        return self.folder / f"{hashlib.sha256(f'{self._about} {person}'.encode()).hexdigest()[:32]}.json"

    def read(self, person: str) -> Judged | None:
        """None where there is nothing yet. Raises DataError for a damaged file."""
        path = self.path(person)
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            one = {field.name: found["person"][field.name] for field in fields(Person)}
            one["drawn"] = tuple(Drawn(**drawn) for drawn in one["drawn"])
            one["baselines"] = Distances(**one["baselines"])
            one["unmasked"] = None if one["unmasked"] is None else tuple(one["unmasked"])
            return Judged(Person(**one), dict(found["teacher"]), found["tokens"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise DataError(
                f"{path} cannot be read ({error!r}): remove it, and its person is measured anew."
            ) from error

    def write(self, judged: Judged) -> None:
        """Raises OSError."""
        person = asdict(judged.person) | {"baselines": judged.person.baselines._asdict()}
        found = {"person": person, "teacher": judged.teacher, "tokens": judged.tokens}
        with writing(self.path(judged.person.person)) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")

    def clear(self, people: tuple[str, ...]) -> None:
        """Once the whole is written."""
        for person in people:
            self.path(person).unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
