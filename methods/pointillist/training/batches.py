"""What a step learns from: windows of changed subjects, with what the model is told of them."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from numpy import uint8
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.fitting.config import load_preset
from avatarbench.methods.pointillist.build_person import check_cloud
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.surface import normalised, sample_surface
from avatarbench.methods.pointillist.tokenizer import SLOTS, Points, PointsWarning, Tokenizer
from avatarbench.methods.pointillist.tracked_size import cloud_on
from avatarbench.methods.pointillist.training.augment import coloured, draw_change
from avatarbench.methods.pointillist.training.seeds import generator_at, seed_of
from avatarbench.methods.pointillist.training.windows import Order, cut, starts
from avatarbench.presets import known

KEPT = 2 * 2**30
"""Bytes of image tokens that are kept, those used last."""


class Portrait(Protocol):
    """``image`` (H, W, 3) uint8; ``vertices`` (V, 3) metres: the head tracked in it, neutralised, in the rig's axes."""

    @property
    def image(self) -> NDArray[uint8]: ...

    @property
    def vertices(self) -> Tensor: ...


class Subjects(Protocol):
    """What training asks of a set (:class:`avatarbench.methods.pointillist.training_set.TrainingSet`)."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def faces(self) -> Tensor: ...

    @property
    def mirror(self) -> Tensor: ...

    @property
    def people(self) -> tuple[str, ...]: ...

    @property
    def config(self) -> dict[str, Any]: ...

    @property
    def digest(self) -> str: ...

    def cloud(self, person: str) -> Points: ...

    def rest(self, person: str) -> Tensor: ...

    def portraits(self, person: str) -> Sequence[Portrait]: ...


class Encoder(Protocol):
    """The frozen network over portraits (:class:`avatarbench.methods.pointillist.images.ImageEncoder`)."""

    @property
    def count(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def fingerprint(self) -> str: ...

    def tokens(self, images: Tensor) -> Tensor: ...


class Batch(NamedTuple):
    """``tokens`` and ``following`` (B, T); ``image`` (B, I, W) of the encoder; ``samples`` (B, S, 6), normalised;
    ``told`` (B,): 0 for a window that is learnt without its portrait, else 1; ``clamped``: points that a change moved
    out of the cube, which were put on its border."""

    tokens: Tensor
    following: Tensor
    image: Tensor
    samples: Tensor
    told: Tensor
    clamped: int


class Batches:
    """The training windows of a set, in the order of ``config.train.seed``.

    Every draw is made from (seed, number of the window), so a step's windows are the same however many processes share
    them and wherever a run was interrupted. Raises DataError as :func:`check_set` does.
    """

    def __init__(self, subjects: Subjects, config: Config, encoder: Encoder, device: torch.device) -> None:
        check_set(subjects, config)
        self.subjects, self.config, self.encoder, self.device = subjects, config, encoder, device
        lengths = [2 * SLOTS + SLOTS * len(subjects.cloud(person).bindings) for person in subjects.people]
        self._starts = [starts(length, config.window) for length in lengths]
        self.order = Order([len(found) for found in self._starts], config.train.seed)
        self._kept: OrderedDict[tuple[int, int, bool, int], Tensor] = OrderedDict()
        self._room = KEPT

    def batch(self, step: int, process: int = 0, processes: int = 1) -> Batch:
        """What ``process`` of ``processes`` learns in ``step``: every so-manieth of the step's windows. All of them end
        where the longest does."""
        size = self.config.train.batch
        found = [self._item(step * size + i) for i in range(process, size, processes)]
        return stack(found, self.subjects.tokenizer.vocabulary.pad, self.device)

    def _item(self, n: int) -> Batch:
        config, seed = self.config, self.config.train.seed
        person, window = self.order[n]
        generator = generator_at(seed, "window", n)
        tokenizer, augment = self.subjects.tokenizer, config.train.augment
        change = draw_change(augment, tokenizer.cube.side, generator)
        name = self.subjects.people[person]
        portraits = self.subjects.portraits(name)
        which = int(torch.randint(len(portraits), (), generator=generator))
        vertices, faces = change.places(portraits[which].vertices), change.faces(self.subjects.faces)
        samples = normalised(sample_surface(vertices, faces, config.points.samples, generator), tokenizer)
        cloud = cloud_on(self.subjects, name, which)
        bindings = self.subjects.mirror[cloud.bindings] if change.mirrored else cloud.bindings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PointsWarning)  # counted instead, and logged with the step
            encoded = tokenizer.encode(change.places(cloud.positions), bindings)
        found = cut(encoded.tokens, self._starts[person][window], config.window.length, tokenizer.vocabulary.pad)
        place = (person, which)
        image = self._image(portraits[which].image, place, change.mirrored, seed_of(seed, "light", n))
        blank = float(torch.rand((), generator=generator_at(seed, "blank", n))) < config.train.blank
        told = torch.full((1,), 0.0 if blank else 1.0)
        return Batch(found.tokens[None], found.following[None], image[None], samples[None], told, encoded.clamped)

    def _image(self, image: NDArray[uint8], place: tuple[int, int], mirrored: bool, drawn: int) -> Tensor:
        """(I, W) of the encoder, of the portrait at ``place`` (person, portrait), in the light ``drawn``, or that of
        ``augment.colours`` which it falls on."""
        augment, seed = self.config.train.augment, self.config.train.seed
        light = 0 if not augment.colour else drawn % augment.colours if augment.colours else drawn
        key = (*place, mirrored, light)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        pixels = torch.from_numpy(image)
        if augment.colour:
            pixels = coloured(pixels, augment.colour, generator_at(seed, "colour", *place, light))
        found = self.encoder.tokens((pixels.flip(1) if mirrored else pixels)[None])[0]
        if not augment.colour or augment.colours:
            self._keep(key, found)
        return found

    def _keep(self, key: tuple[int, int, bool, int], tokens: Tensor) -> None:
        self._kept[key] = tokens
        self._room -= tokens.nbytes
        while self._room < 0:
            self._room += self._kept.popitem(last=False)[1].nbytes


def stack(items: Sequence[Batch], pad: int, device: torch.device) -> Batch:
    """One batch of several, cut where all are padding (at a multiple of 4)."""
    following = torch.cat([item.following for item in items])
    used = int((following != pad).any(0).nonzero().max()) + 1
    length = min(-(-used // SLOTS) * SLOTS, following.shape[1])
    return Batch(
        torch.cat([item.tokens for item in items])[:, :length].to(device),
        following[:, :length].to(device),
        torch.cat([item.image.to(device) for item in items]),
        torch.cat([item.samples for item in items]).to(device),
        torch.cat([item.told for item in items]).to(device),
        sum(item.clamped for item in items),
    )


def check_set(subjects: Subjects, config: Config) -> None:
    """Raises DataError for a set without people, one of another rig, fit preset or vocabulary than is configured, and
    clouds that a model of this configuration could not generate."""
    _check_configured(subjects, config)
    if not subjects.people:
        raise DataError("the set holds no person, so there is nothing to learn.")
    most = config.generate.points
    for person in subjects.people:
        cloud = subjects.cloud(person)
        if len(cloud.positions) > most:
            raise DataError(
                f"the cloud of {person} has {len(cloud.positions):,} points and a model of this configuration "
                f"generates at most {most:,}: give generate.points={len(cloud.positions)} or more, or name another set."
            )
        check_cloud(cloud, len(subjects.faces), most, person)


def _check_configured(subjects: Subjects, config: Config) -> None:
    vocabulary = subjects.tokenizer.vocabulary
    theirs: dict[str, Any] = {"levels": vocabulary.levels, "faces": vocabulary.faces}
    theirs = {key: subjects.config.get(key, "unknown") for key in ("rig", "fit")} | theirs
    changes = {key: value for key, value in theirs.items() if value != getattr(config, key)}
    if not changes:
        return
    ours = ", ".join(f"{key}={getattr(config, key)}" for key in changes)
    found = ", ".join(f"{key}={value}" for key, value in changes.items())
    remedy = f"train with {' '.join(f'{key}={value}' for key, value in changes.items())}, or name another set."
    if not _is_of_a_preset(subjects.config):
        # Portraits are tracked on the rig that the preset makes, so what such weights bind to has no name later.
        remedy = (
            "the set's rig was not decimated as a fit preset says, and 'generate' knows no other rigs: build a set "
            f"without fit.faces, with rig={config.rig} fit={config.fit}."
        )
    raise DataError(f"the set has {found}, and the configuration {ours}: {remedy}")


def _is_of_a_preset(made: Mapping[str, Any]) -> bool:
    """Whether the rig of a set that was ``made`` so is the one that its fit preset decimates to."""
    if made.get("fit") not in known("avatarbench.configs.fit"):
        return False
    count: object = made.get("fit_config", {}).get("faces")
    return count == load_preset(str(made["fit"])).faces
