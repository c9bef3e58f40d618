"""How training fares on people it does not see: predictions of their true tokens, and clouds of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor

from avatarbench.errors import DataError, UsageError
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.measures import agreement, chamfer, count_error, fault
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.surface import normalised, sample_surface
from avatarbench.methods.pointillist.tokenizer import BINDING, SLOTS
from avatarbench.methods.pointillist.tracked_size import cloud_on
from avatarbench.methods.pointillist.training.batches import Encoder, Subjects
from avatarbench.methods.pointillist.training.loss import KINDS, NOTHING, columns, kinds, slots
from avatarbench.methods.pointillist.training.windows import cut, starts

GENERATED = 3
"""People for whom clouds are generated while training, evenly chosen."""


class Tally(NamedTuple):
    """Sums over asked tokens by kind, each (5,): cross-entropy in nats, most likely tokens that are the true ones, and
    tokens; ``near`` (): most likely faces that share a corner with the true one."""

    entropy: Tensor
    hits: Tensor
    counts: Tensor
    near: Tensor

    def plus(self, other: Tally) -> Tally:
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))

    def shares(self) -> dict[str, Any]:
        """Means: ``entropy`` and ``accuracy`` by kind and of ``all``, and ``near`` of the bindings."""
        counts = self.counts.tolist()
        known = [(n, kind) for n, kind in enumerate(KINDS) if counts[n]]
        whole = max(1.0, sum(counts))
        means = {
            name: {kind: float(values[n]) / counts[n] for n, kind in known} | {"all": float(values.sum()) / whole}
            for name, values in (("entropy", self.entropy), ("accuracy", self.hits))
        }
        return means | {"near": float(self.near) / max(1.0, counts[BINDING])}


def nothing(device: torch.device) -> Tally:
    zeros = torch.zeros(len(KINDS), dtype=torch.float64, device=device)
    return Tally(zeros, zeros, zeros, zeros.sum())


@torch.no_grad()
def teacher_forced(model: StageOne, sequence: Tensor, context: Tensor, faces: Tensor) -> Tally:
    """Every token of a whole ``sequence`` (T,) predicted once from the true ones before it: in the windows of training,
    from the one that holds most of what came before. ``context`` (1, C, width) of ``model.condition``; ``faces``
    (F, 3): corners. Token for token the same as training's logits, masked where training masks."""
    config, vocabulary, device = model.config, model.vocabulary, context.device
    found = nothing(device)
    done = 0  # what follows the tokens before this place was asked in the window before
    for start in starts(len(sequence), config.window):
        tokens, following = (
            part[None].to(device) for part in cut(sequence, start, config.window.length, vocabulary.pad)
        )
        new = torch.arange(start, start + config.window.length, device=device) >= done
        done = start + config.window.length
        states = model.states(tokens, context)
        for slot in slots(states, model.head, vocabulary, tokens, following, config.grammar.training):
            target = columns(slot, vocabulary)
            kind = kinds(slot, vocabulary)
            known = (target != NOTHING) & (kind < len(KINDS)) & new[(slot.slot - 1) % SLOTS :: SLOTS]
            logits, at, kind = slot.logits[known], target[known], kind[known]
            entropy = torch.nn.functional.cross_entropy(logits, at, reduction="none").double()
            likely = logits.argmax(-1)
            near = found.near
            if slot.slot == BINDING:
                first = vocabulary.levels if slot.whole else 0
                near = near + _touching(likely - first, at - first, faces.to(device))
            found = Tally(
                found.entropy.index_add(0, kind, entropy),
                found.hits.index_add(0, kind, (likely == at).double()),
                found.counts.index_add(0, kind, torch.ones_like(entropy)),
                near,
            )
    return found


def _touching(likely: Tensor, true: Tensor, faces: Tensor) -> Tensor:
    """How many of the ``likely`` faces (N,) share a corner with the ``true`` ones; what is no face shares none."""
    is_face = (likely >= 0) & (likely < len(faces))
    corners, others = faces[likely.clamp(0, len(faces) - 1)], faces[true]
    return ((corners[:, :, None] == others[:, None, :]).any(2).any(1) & is_face).double().sum()


class Named(Protocol):
    """People of whom more is known than a name (``TrainingSet.marks``)."""

    @property
    def people(self) -> tuple[str, ...]: ...

    def marks(self, person: str) -> Mapping[str, str]: ...


class Marked(Subjects, Named, Protocol):
    """A set that knows it of its people."""


class Remembered:
    """People whose marks were written down, by name."""

    def __init__(self, said: Mapping[str, Mapping[str, str]]) -> None:
        self.people, self._said = tuple(said), said

    def marks(self, person: str) -> Mapping[str, str]:
        return self._said[person]


def seen_before(held: Named, trained: Named) -> list[str]:
    """Who of ``held`` is in ``trained``: a cloud or an identity is the same, under whatever name, or the name is and
    no two identities tell the people apart. Clouds do not: one person's differ from fit to fit."""
    theirs = {person: trained.marks(person) for person in trained.people}
    names = {mark: person for person, marks in theirs.items() for mark in marks.items()}
    found = []
    for person in held.people:
        mine = held.marks(person)
        other = next((names[mark] for mark in mine.items() if mark in names), None)
        if other is None and person in theirs and not ("identity" in mine and "identity" in theirs[person]):
            other = person
        if other is not None:
            found.append(person if other == person else f"{person} ({other} in the training set)")
    return found


class Evaluation:
    """Of the first portrait of every person in ``held``. A call on all processes, which share the people, returns the
    same on each of them: :meth:`Tally.shares`, and :func:`means` of the clouds that are generated for ``generated`` of
    the people, evenly chosen, under seed 0.

    Raises UsageError for people that are trained on, DataError for a set of another tokenizer.
    """

    def __init__(
        self, held: Marked, trained: Marked, config: Config, encoder: Encoder, generated: int = GENERATED
    ) -> None:
        if held.tokenizer != trained.tokenizer or not torch.equal(held.faces, trained.faces):
            raise DataError(
                "the set to evaluate on has another tokenizer or rig than the training set: build it with "
                "'train pointillist data --tokenizer TRAINING_SET'."
            )
        both = seen_before(held, trained)
        if both:
            raise UsageError(f"{', '.join(both)} are trained on too: evaluate on other people.")
        if config.transformer.architecture != "plain" and generated:
            raise UsageError("an hourglass has no engine that generates: evaluate with --generate 0.")
        self.held, self.config, self.encoder = held, config, encoder
        count = min(generated, len(held.people))
        self.drawn = sorted({round(n * len(held.people) / count) for n in range(count)})
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, model: StageOne, accelerator: Accelerator) -> dict[str, Any]:
        mine = range(accelerator.process_index, len(self.held.people), accelerator.num_processes)
        device, was = accelerator.device, model.training
        model.eval()
        tally = nothing(device)
        clouds = torch.zeros(len(MEASURED), dtype=torch.float64, device=device)
        for number in mine:
            cloud = cloud_on(self.held, self.held.people[number])
            context = self._context(model, number, device)
            sequence = self.held.tokenizer.encode(*cloud).tokens
            tally = tally.plus(teacher_forced(model, sequence, context, self.held.faces))
        chosen = [number for number in mine if number in self.drawn]
        if chosen:
            clouds = clouds + self._generated(model, chosen, device)
        model.train(was)
        packed = torch.cat([part.reshape(-1) for part in (*tally, clouds)])
        parts = accelerator.reduce(packed, "sum").split([len(KINDS)] * 3 + [1, len(clouds)])
        found = Tally(parts[0], parts[1], parts[2], parts[3][0]).shares()
        if self.drawn:
            found["generated"] = means(dict(zip(MEASURED, parts[4].tolist(), strict=True)))
        return found

    @torch.no_grad()
    def _context(self, model: StageOne, number: int, device: torch.device) -> Tensor:
        """(1, C, width)"""
        if number not in self._known:
            portrait = self.held.portraits(self.held.people[number])[0]
            image = self.encoder.tokens(torch.from_numpy(portrait.image)[None])[0]
            draw = torch.Generator().manual_seed(0)
            samples = sample_surface(portrait.vertices, self.held.faces, self.config.points.samples, draw)
            self._known[number] = image, normalised(samples, self.held.tokenizer)
        image, samples = (part[None].to(device) for part in self._known[number])
        return model.condition(image, samples)

    def _generated(self, model: StageOne, people: Sequence[int], device: torch.device) -> Tensor:
        """Sums of :data:`MEASURED` over ``people``, of a draw each, whatever ``generate.consensus`` says."""
        from avatarbench.methods.pointillist.engine import Engine

        contexts = torch.cat([self._context(model, number, device) for number in people])
        drawn = Engine(model).generate(contexts, self.config.generate, [0] * len(people))
        total = torch.zeros(len(MEASURED), dtype=torch.float64)
        for number, made in zip(people, drawn, strict=True):
            total += torch.tensor(measured(made.tokens, made.reason, self.held, number), dtype=torch.float64)
        return total.to(device)


MEASURED = ("clouds", "ended", "valid", "points", "chamfer", "count_error", "exact", "bound_near")
"""Of a generated sequence: it is one; it came to its own end; its tokens are a cloud's, and then: points; metres from
the true cloud; relative error of the count, without its sign; shares of points that are bound to the nearest face of
the tracked head, and to it or a neighbour."""


def measured(tokens: Tensor, reason: str, held: Subjects, number: int) -> tuple[float, ...]:
    """:data:`MEASURED` of ``tokens`` (T,) for a person of ``held``; zeros after ``valid`` where they are no cloud's."""
    person, tokenizer = held.people[number], held.tokenizer
    if fault(tokens, tokenizer.vocabulary) is not None:
        return (1.0, float(reason == "ended"), *([0.0] * (len(MEASURED) - 2)))
    cloud, true = tokenizer.decode(tokens), cloud_on(held, person)
    agreed = agreement(*cloud, held.portraits(person)[0].vertices, held.faces)
    count = len(cloud.bindings)
    wrong = abs(count_error(count, len(true.bindings)))
    distance = chamfer(cloud.positions, true.positions)
    return (1.0, float(reason == "ended"), 1.0, float(count), distance, wrong, agreed.exact, agreed.near)


def means(sums: dict[str, float]) -> dict[str, float]:
    """``ended`` and ``valid`` as shares of the ``clouds``, and, where some are valid, the rest as means over those."""
    count, valid = sums["clouds"], sums["valid"]
    found = {"clouds": count, "ended": sums["ended"] / count, "valid": valid / count}
    if valid:
        found |= {name: sums[name] / valid for name in MEASURED[3:]}
    return found
