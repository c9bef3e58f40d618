"""A trained stage one on people it has not seen: what it generates, and what that has to beat."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatarbench.errors import UsageError
from avatarbench.methods.pointillist.baselines import Distances, Reference, distances, pooled, reference
from avatarbench.methods.pointillist.checkpoint import Loaded
from avatarbench.methods.pointillist.conditioning import mesh_condition
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.engine import Engine, Generated, Progress
from avatarbench.methods.pointillist.images import ImageEncoder
from avatarbench.methods.pointillist.measures import agreement, chamfer, count_error, coverage, fault
from avatarbench.methods.pointillist.paired import Difference, difference
from avatarbench.methods.pointillist.pictures import Row
from avatarbench.methods.pointillist.tokenizer import Points, PointsWarning, Vocabulary
from avatarbench.methods.pointillist.training.evaluation import teacher_forced
from avatarbench.methods.pointillist.training_set import Portrait, TrainingSet

REACH = 0.005
"""Metres within which a point counts as met, in precision and recall."""

COMPARED = ("medoid", "nearest", "surface", "surface_true", "mean", "best")
"""Fields of :class:`Distances` that generated clouds are compared with, the first three being those to beat."""

Watch = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and of how much."""


@dataclass(frozen=True)
class Drawn:
    """One generated cloud. ``reason``: why generation ended; ``fault``: what the grammar has against the tokens, or
    None; ``chamfer`` in metres; ``exact`` and ``near``: shares of points by :func:`agreement` with the tracked mesh."""

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

    def mean(self, key: str) -> float:
        """Of a field of :class:`Drawn`, over the seeds."""
        return float(np.mean([getattr(one, key) for one in self.drawn]))


@dataclass(frozen=True)
class Evaluation:
    """``teacher``: by person, what is predicted where the true tokens come before;
    ``shown``: the first seed's clouds, for the picture sheet."""

    people: tuple[Person, ...]
    teacher: dict[str, dict[str, float]]
    shown: tuple[Row, ...]

    def differences(self) -> dict[str, Difference]:
        """Generated less baseline, metres, paired by person."""
        ours = [one.mean("chamfer") for one in self.people]
        return {key: difference(ours, [getattr(p.baselines, key) for p in self.people]) for key in COMPARED}

    def to_json(self) -> dict[str, Any]:
        """Plain values in full precision: of every person and of the differences. No pictures."""
        return {
            "people": {one.person: asdict(one) | {"baselines": one.baselines._asdict()} for one in self.people},
            "teacher_forced": self.teacher,
            "differences": {key: found._asdict() for key, found in self.differences().items()},
        }


class Engines(NamedTuple):
    """``masked`` samples as the checkpoint's configuration says, ``free`` without the grammar's masks."""

    masked: Engine
    free: Engine | None

    @classmethod
    def of(cls, loaded: Loaded, unmasked: bool) -> Engines:
        masked, free = Engine(loaded.model), None
        if unmasked:
            free = Engine(loaded.model)
            rules = free.config.grammar.model_copy(update={"sampling": False})
            free.config = free.config.model_copy(update={"grammar": rules})
        return cls(masked, free)


def evaluate(
    loaded: Loaded,
    encoder: ImageEncoder,
    training: TrainingSet,
    held: TrainingSet,
    options: Generate,
    seeds: Sequence[int],
    watch: Watch,
    people: Sequence[str] = (),
    again: TrainingSet | None = None,
    unmasked: bool = True,
) -> Evaluation:
    """Of every person of ``held``, or of ``people``: the first portrait's clouds under ``seeds``, measured.

    ``again``: the same people fitted once more, for what two fits differ by. Deterministic; what ``seeds`` or
    ``people`` leave out changes nothing of the others. Raises UsageError for sets that do not belong to the checkpoint
    or to each other, and DataError.
    """
    wanted = tuple(people) or held.people
    _check(loaded, encoder, training, held, again, wanted, seeds)
    engines = Engines.of(loaded, unmasked)
    known = reference(training, encoder, lambda done, total: watch("training clouds", done, total))
    found, shown, teacher = [], [], {}
    for number, person in enumerate(wanted):
        watch("people", number, len(wanted))
        one, seen = _person(loaded, engines, encoder, known, held, person, options, seeds, again, watch)
        found.append(one)
        shown.append(seen)
        context = context_of(loaded, encoder, held.portraits(person)[0], held.faces, seeds[:1])
        teacher[person] = _predicted(loaded, held.cloud(person), context, held.faces)
    watch("people", len(wanted), len(wanted))
    return Evaluation(tuple(found), teacher, tuple(shown))


def _person(
    loaded: Loaded,
    engines: Engines,
    encoder: ImageEncoder,
    known: Reference,
    held: TrainingSet,
    person: str,
    options: Generate,
    seeds: Sequence[int],
    again: TrainingSet | None,
    watch: Watch,
) -> tuple[Person, Row]:
    portrait, true = held.portraits(person)[0], held.cloud(person)
    mesh, tokenizer = (portrait.vertices, held.faces), loaded.tokenizer
    context = context_of(loaded, encoder, portrait, held.faces, seeds)

    def told(progress: Progress) -> None:
        watch("points of a person", sum(progress.points), progress.bound * len(progress.points))

    made = engines.masked.generate(context, options, seeds, told)
    clouds = [tokenizer.decode(one.tokens) for one in made]
    drawn = tuple(
        _measured(one, seed, cloud, true.positions, mesh, tokenizer.vocabulary)
        for one, seed, cloud in zip(made, seeds, clouds, strict=True)
    )
    unmasked = None
    if engines.free is not None:
        free = engines.free.generate(context, options, seeds, told)
        unmasked = tuple(fault(one.tokens, tokenizer.vocabulary) for one in free)
    count = round(float(np.mean([one.points for one in drawn])))
    feature, draw = pooled(encoder, portrait.image), torch.Generator().manual_seed(0)
    agreed = agreement(*true, *mesh)
    found = Person(
        person=person,
        points=len(true.positions),
        exact=agreed.exact,
        near=agreed.near,
        drawn=drawn,
        baselines=distances(known, true.positions, feature, mesh, tokenizer, count, draw),
        unmasked=unmasked,
        again=None if again is None else chamfer(again.cloud(person).positions, true.positions),
    )
    return found, Row(person, portrait.image, true, clouds[0], portrait.vertices)


def _predicted(loaded: Loaded, cloud: Points, context: Tensor, faces: Tensor) -> dict[str, float]:
    """Accuracies by kind of token, of ``all``, and of bindings with ``neighbours`` counted as right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PointsWarning)  # others' clouds may leave the training set's cube
        tokens = loaded.tokenizer.encode(*cloud).tokens
    found = teacher_forced(loaded.model, tokens, context, faces).shares()
    return {**found["accuracy"], "binding or neighbour": found["near"], "nats a token": found["entropy"]["all"]}


def context_of(
    loaded: Loaded, encoder: ImageEncoder, portrait: Portrait, faces: Tensor, seeds: Sequence[int]
) -> Tensor:
    """(S, C, width): what a model sees of a portrait, its surface sampled under each of ``seeds``."""
    device = next(loaded.model.parameters()).device
    mesh = (portrait.vertices, faces, loaded.config, loaded.tokenizer, encoder)
    conditions = [mesh_condition(portrait.image, *mesh, seed) for seed in seeds]
    with torch.inference_mode():
        return torch.cat(
            [loaded.model.condition(c.image_tokens[None].to(device), c.samples[None].to(device)) for c in conditions]
        )


def _measured(
    made: Generated, seed: int, cloud: Points, true: Tensor, mesh: tuple[Tensor, Tensor], vocabulary: Vocabulary
) -> Drawn:
    met, agreed = coverage(cloud.positions, true, REACH), agreement(*cloud, *mesh)
    return Drawn(
        seed=seed,
        points=len(cloud.positions),
        count_error=count_error(len(cloud.positions), len(true)),
        reason=made.reason,
        fault=fault(made.tokens, vocabulary),
        seconds=made.seconds,
        chamfer=chamfer(cloud.positions, true),
        precision=met.precision,
        recall=met.recall,
        exact=agreed.exact,
        near=agreed.near,
    )


def _check(
    loaded: Loaded,
    encoder: ImageEncoder,
    training: TrainingSet,
    held: TrainingSet,
    again: TrainingSet | None,
    people: Sequence[str],
    seeds: Sequence[int],
) -> None:
    faces = loaded.config.faces
    for name, data in (("training set", training), ("held-out set", held), ("other fits", again)):
        if data is None:
            continue
        if data.tokenizer.vocabulary != loaded.tokenizer.vocabulary or not torch.equal(data.faces, training.faces):
            raise UsageError(
                f"the {name} in {data.root} has {data.tokenizer.vocabulary.faces} faces and "
                f"{data.tokenizer.vocabulary.levels} levels, or other faces than the training set; the checkpoint has "
                f"{faces} and {loaded.config.levels}. Name sets of one rig."
            )
    if (encoder.count, encoder.width) != loaded.image_tokens:
        raise UsageError(
            f"the image encoder gives {encoder.count} x {encoder.width} tokens, and the checkpoint was trained with "
            f"{loaded.image_tokens[0]} x {loaded.image_tokens[1]}: it is of another one."
        )
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError(f"seeds {', '.join(map(str, seeds)) or 'none'}: give one or more, all different.")
    for one in (held, again):
        missing = [] if one is None else [person for person in people if person not in one.people]
        if one is not None and missing:
            raise UsageError(f"{one.root} has no {', '.join(missing)}; it has {', '.join(one.people)}.")
    seen = sorted(set(people) & set(training.people))
    if seen:
        raise UsageError(f"{', '.join(seen)} are in the training set too: held-out people are others.")
