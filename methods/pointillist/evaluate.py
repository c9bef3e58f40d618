"""A trained stage one on people it has not seen: what it generates, and what that has to beat."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from avatarbench.errors import UsageError
from avatarbench.methods.pointillist.baselines import Reference, distances, reference
from avatarbench.methods.pointillist.checkpoint import Loaded
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.draw import draw
from avatarbench.methods.pointillist.engine import Engine, Generated, Progress
from avatarbench.methods.pointillist.engine.window import ROWS
from avatarbench.methods.pointillist.evaluate_records import Drawn, Judged, Kept, Person
from avatarbench.methods.pointillist.images import ImageEncoder
from avatarbench.methods.pointillist.measures import Indexed, agreement, chamfer, count_error, coverage, fault
from avatarbench.methods.pointillist.paired import Difference, difference
from avatarbench.methods.pointillist.pictures import Row
from avatarbench.methods.pointillist.surface import normalised, sample_surface
from avatarbench.methods.pointillist.tokenizer import Points, PointsWarning, Tokenizer
from avatarbench.methods.pointillist.tracked_size import cloud_on, relative_scale
from avatarbench.methods.pointillist.training.evaluation import seen_before, teacher_forced
from avatarbench.methods.pointillist.training_set import Portrait, TrainingSet

REACH = 0.005
"""Metres within which a point counts as met, in precision and recall."""

COMPARED = ("medoid", "nearest", "surface", "surface_true", "mean", "best")
"""Fields of :class:`Distances` that generated clouds are compared with, the first three being those to beat."""

Watch = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and of how much."""


@dataclass(frozen=True)
class Evaluation:
    """``teacher``: by person, what is predicted where the true tokens come before;
    ``shown``: the first valid clouds, for the picture sheet; ``masked``: training masked what the grammar forbids, so
    that draws without masks would say nothing."""

    people: tuple[Person, ...]
    teacher: dict[str, dict[str, float]]
    shown: tuple[Row, ...]
    masked: bool = False

    @property
    def measured(self) -> tuple[Person, ...]:
        """Those with a valid cloud, whose distances are known."""
        return tuple(one for one in self.people if one.valid)

    def differences(self) -> dict[str, Difference]:
        """Generated less baseline, metres, paired by person, of :attr:`measured`; empty where there is nobody."""
        ours = [one.mean("chamfer") for one in self.measured]
        if not ours:
            return {}
        return {key: difference(ours, [getattr(p.baselines, key) for p in self.measured]) for key in COMPARED}

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
    kept: Kept | None = None,
) -> Evaluation:
    """Of every person of ``held``, or of ``people``: the first portrait's clouds under ``seeds``, measured.

    ``again``: the same people fitted once more, for what two fits differ by. ``unmasked``: also draw without masks,
    where training had none. ``kept``: takes each person once measured, and those that it has are not measured again.
    Deterministic; what ``seeds`` or ``people`` leave out changes nothing of the others, but
    for the surface with as many samples as the mean over the seeds has points. Raises UsageError for sets that do not
    belong to the checkpoint or to each other, and DataError.
    """
    wanted = tuple(people) or held.people
    _check(loaded, encoder, training, held, again, wanted, seeds)
    masked = loaded.config.grammar.training
    found = {person: one for person in wanted if kept and (one := kept.read(person))}
    missing = [person for person in wanted if person not in found]
    if missing:
        engines = Engines.of(loaded, unmasked and not masked)
        known = reference(training, encoder, lambda done, total: watch("training clouds", done, total))
        watch("people", len(found), len(wanted))
        for sample in _samples(loaded, engines, encoder, held, missing, options, seeds, watch):
            one = found[sample.person] = _judged(loaded, known, held, sample, seeds, again)
            if kept:
                kept.write(one)
            watch("people", len(found), len(wanted))
    ordered = [found[person] for person in wanted]
    return Evaluation(
        tuple(one.person for one in ordered),
        {one.person.person: one.teacher for one in ordered},
        tuple(_row(loaded, held, one) for one in ordered),
        masked,
    )


class Sample(NamedTuple):
    """All that is drawn of a person, a sequence a seed; ``context`` (1, C, width): the first seed's; ``feature`` (W,)
    of the portrait."""

    person: str
    feature: Tensor
    context: Tensor
    drawn: list[Generated]
    free: list[Generated] | None


def _samples(
    loaded: Loaded,
    engines: Engines,
    encoder: ImageEncoder,
    held: TrainingSet,
    people: Sequence[str],
    options: Generate,
    seeds: Sequence[int],
    watch: Watch,
) -> Iterator[Sample]:
    """In batches as large as the engine steps at once, across people; each person as soon as the last seed is drawn."""

    def told(progress: Progress) -> None:
        watch("points of a batch", sum(progress.points), progress.bound * len(progress.points))

    single = options.model_copy(update={"consensus": 1})
    pairs = [(person, seed) for person in people for seed in seeds]
    begun: dict[str, Sample] = {}
    image = torch.empty(0)
    for start in range(0, len(pairs), ROWS):
        group, contexts = pairs[start : start + ROWS], []
        for person, seed in group:
            portrait = held.portraits(person)[0]
            if person not in begun:  # a person's seeds follow each other: one portrait's tokens are enough
                image = encoder.tokens(torch.from_numpy(np.ascontiguousarray(portrait.image))[None])
            contexts.append(_context(loaded, image, portrait, held.faces, seed))
            if person not in begun:
                begun[person] = Sample(person, image[0].mean(0).cpu(), contexts[-1], [], [] if engines.free else None)
        rows, drawn_with = torch.cat(contexts), [seed for _, seed in group]
        made = draw(loaded, engines.masked, rows, options, drawn_with, told, states=False)
        free = engines.free.generate(rows, single, drawn_with, told, False) if engines.free else []
        for number, (person, _) in enumerate(group):
            sample = begun[person]
            sample.drawn.append(made[number])
            if sample.free is not None:
                sample.free.append(free[number])
            if len(sample.drawn) == len(seeds):
                yield sample


def _context(loaded: Loaded, image: Tensor, portrait: Portrait, faces: Tensor, seed: int) -> Tensor:
    """(1, C, width): what a model sees of a portrait with the tokens ``image`` (1, I, W), as mesh_condition has it: its
    surface sampled under ``seed``."""
    device = next(loaded.model.parameters()).device
    draw = torch.Generator().manual_seed(seed)
    samples = sample_surface(portrait.vertices, faces, loaded.config.points.samples, draw)
    with torch.inference_mode():
        return loaded.model.condition(image.to(device), normalised(samples, loaded.tokenizer)[None].to(device))


def _judged(
    loaded: Loaded,
    known: Reference,
    held: TrainingSet,
    sample: Sample,
    seeds: Sequence[int],
    again: TrainingSet | None,
) -> Judged:
    person, tokenizer = sample.person, loaded.tokenizer
    portrait, true = held.portraits(person)[0], cloud_on(held, person)
    mesh, indexed = (portrait.vertices, held.faces), Indexed(true.positions)
    drawn = tuple(_measured(one, seed, indexed, mesh, tokenizer) for one, seed in zip(sample.drawn, seeds, strict=True))
    valid = [one.points for one in drawn if one.fault is None]
    count = round(float(np.mean(valid))) if valid else 0
    agreed = agreement(*true, *mesh)
    unmasked = None
    if sample.free is not None:
        unmasked = tuple(fault(one.tokens, tokenizer.vocabulary) for one in sample.free)
    found = Person(
        person=person,
        points=len(true.positions),
        exact=agreed.exact,
        near=agreed.near,
        drawn=drawn,
        baselines=distances(known, true.positions, sample.feature, mesh, tokenizer, count),
        unmasked=unmasked,
        again=None if again is None else chamfer(_again(again, person, portrait.vertices), indexed),
    )
    shown = next((m.tokens.tolist() for m, d in zip(sample.drawn, drawn, strict=True) if d.fault is None), None)
    return Judged(found, _predicted(loaded, true, sample.context, held.faces), shown)


def _row(loaded: Loaded, held: TrainingSet, one: Judged) -> Row:
    person = one.person.person
    portrait = held.portraits(person)[0]
    generated = None if one.tokens is None else loaded.tokenizer.decode(torch.tensor(one.tokens))
    return Row(person, portrait.image, cloud_on(held, person), generated, portrait.vertices)


def _again(again: TrainingSet, person: str, tracked: Tensor) -> Tensor:
    """(N, 3) of another fit of the person, on the head that was tracked for the first."""
    return again.cloud(person).positions * relative_scale(tracked, again.rest(person))


def _predicted(loaded: Loaded, cloud: Points, context: Tensor, faces: Tensor) -> dict[str, float]:
    """Accuracies by kind of token, of ``all``, and of bindings with ``neighbours`` counted as right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PointsWarning)  # others' clouds may leave the training set's cube
        tokens = loaded.tokenizer.encode(*cloud).tokens
    found = teacher_forced(loaded.model, tokens, context, faces).shares()
    return {**found["accuracy"], "binding or neighbour": found["near"], "nats a token": found["entropy"]["all"]}


def _measured(made: Generated, seed: int, true: Indexed, mesh: tuple[Tensor, Tensor], tokenizer: Tokenizer) -> Drawn:
    wrong = fault(made.tokens, tokenizer.vocabulary)
    if wrong is not None:
        nothing = (math.nan,) * 5
        return Drawn(seed, 0, math.nan, made.reason, wrong, made.seconds, *nothing, made.left_out)
    cloud = tokenizer.decode(made.tokens)
    placed = Indexed(cloud.positions)
    met, agreed = coverage(placed, true, REACH), agreement(*cloud, *mesh)
    return Drawn(
        seed=seed,
        points=len(cloud.positions),
        count_error=count_error(len(cloud.positions), len(true.points)),
        reason=made.reason,
        fault=None,
        seconds=made.seconds,
        chamfer=chamfer(placed, true),
        precision=met.precision,
        recall=met.recall,
        exact=agreed.exact,
        near=agreed.near,
        left_out=made.left_out,
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
    origin = loaded.extra.get("data", training.digest)
    if origin != training.digest:
        raise UsageError(
            f"the checkpoint was trained on another set (digest {str(origin)[:12]}) than {training.root} "
            f"({training.digest[:12]}): name the one it was trained on, so that the baselines are its people."
        )
    if training.tokenizer != loaded.tokenizer:
        raise UsageError(
            f"the training set in {training.root} has the cube {training.tokenizer.cube}, and the checkpoint "
            f"{loaded.tokenizer.cube}: name the set that it was trained on."
        )
    unlike = loaded.misfit(encoder)
    if unlike is not None:
        raise UsageError(f"{unlike}: it is of another one.")
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError(f"seeds {', '.join(map(str, seeds)) or 'none'}: give one or more, all different.")
    for one in (held, again):
        missing = [] if one is None else [person for person in people if person not in one.people]
        if one is not None and missing:
            raise UsageError(f"{one.root} has no {', '.join(missing)}; it has {', '.join(one.people)}.")
    seen = [person for person in seen_before(held, training) if person.split(" ")[0] in people]
    if seen:
        raise UsageError(f"{', '.join(seen)} are in the training set too: held-out people are others.")
