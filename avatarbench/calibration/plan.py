"""What is rendered and what is compared with what: scenes, each with its unchanged frame and all its changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from avatarbench.calibration.changes import BASES, KINDS, Base, Kind, state
from avatarbench.openheads.state import HeadState

IDENTICAL, NOISE, STRANGER = "identical", "noise", "stranger"
"""Changes without a size: the very same image, the same scene under another sampling seed, another person in the same
pose and camera."""

REFERENCE_SEED = 0
NOISE_SEEDS = (1, 2)
_FIRST_SEED = 3
_RENDERED = [(kind.id, level) for kind in KINDS if kind.group != "image" for level in kind.levels]
SEEDS = {change: seed for seed, change in enumerate(_RENDERED, _FIRST_SEED)}
"""Every changed frame, a kind at a level, is rendered with a seed of its own, so that its noise is not the unchanged
frame's: what a change is compared with at zero is the noise floor. The seed is the same whatever else is asked for."""


@dataclass(frozen=True)
class Shot:
    """A frame to render: ``person`` is an index of OpenHeads' test stream."""

    person: int
    state: HeadState
    seed: int


@dataclass(frozen=True)
class Comparison:
    """A changed frame: ``shot``, and for a change of pixels what is done to it, its ``kind`` at ``level``.

    ``amount``: the level with its sign, the direction of the turn or shift. ``level`` of the noise is its seed.
    """

    kind: str
    level: float
    amount: float
    shot: Shot
    pixels: bool = False


@dataclass(frozen=True)
class Scene:
    """One person in one base state: the unchanged frame and everything that is compared with it."""

    person: int
    base: str
    reference: Shot
    comparisons: tuple[Comparison, ...]

    def shots(self) -> list[Shot]:
        """The frames that the scene needs, each once."""
        found = {(shot.person, shot.seed): shot for shot in (self.reference, *(c.shot for c in self.comparisons))}
        return list(found.values())


def plan(identities: int, kinds: tuple[Kind, ...] = KINDS, bases: tuple[Base, ...] = BASES) -> list[Scene]:
    """The scenes of persons 0 to ``identities - 1``; person ``identities + n`` is the stranger of person n.

    Turns and shifts go one way in one scene and the other way in the next, so that both directions count alike.
    """
    return [
        _scene(person, identities + person, base, 1 if (person + number) % 2 == 0 else -1, kinds)
        for person in range(identities)
        for number, base in enumerate(bases)
    ]


def _scene(person: int, stranger: int, base: Base, sign: int, kinds: tuple[Kind, ...]) -> Scene:
    unchanged = state(base)
    reference = Shot(person, unchanged, REFERENCE_SEED)
    comparisons = [Comparison(IDENTICAL, 0.0, 0.0, reference)]
    comparisons += [Comparison(NOISE, seed, 0.0, Shot(person, unchanged, seed)) for seed in NOISE_SEEDS]
    comparisons.append(Comparison(STRANGER, 0.0, 0.0, Shot(stranger, unchanged, REFERENCE_SEED)))
    comparisons += _changes(person, base, reference, sign, kinds)
    return Scene(person, base.name, reference, tuple(comparisons))


def _changes(person: int, base: Base, reference: Shot, sign: int, kinds: tuple[Kind, ...]) -> Iterator[Comparison]:
    for kind in kinds:
        for level in kind.levels:
            amount = sign * level if kind.group == "pose" or kind.id == "shift" else level
            if kind.group == "image":
                yield Comparison(kind.id, level, amount, reference, pixels=True)
            else:
                shot = Shot(person, state(base, kind.id, amount), SEEDS[kind.id, level])
                yield Comparison(kind.id, level, amount, shot)
