"""What a step of the decoder's training learns from: people, portraits and pictures, drawn by their place alone."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.decoder.clouds import Drawn
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.methods.pointillist.decoder.frames import Frame, Frames
from avatarbench.methods.pointillist.decoder.gaussians import inputs_of, rig_points
from avatarbench.methods.pointillist.decoder.motion import Movable, Skeleton
from avatarbench.methods.pointillist.tokenizer import Points, Tokenizer
from avatarbench.methods.pointillist.tracked_size import relative_scale
from avatarbench.methods.pointillist.training.seeds import generator_at
from avatarbench.methods.pointillist.training.windows import Order

SKELETONS = 256
"""That are kept, those used last."""


class Generated(Protocol):
    """What training asks of generated clouds (:class:`avatarbench.methods.pointillist.decoder.clouds.Clouds`)."""

    @property
    def people(self) -> tuple[str, ...]: ...

    @property
    def portraits(self) -> dict[str, tuple[int, ...]]: ...

    @property
    def left(self) -> dict[str, dict[int, str]]: ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def image_tokens(self) -> tuple[int, int]: ...

    @property
    def width(self) -> int: ...

    def drawn(self, person: str, portrait: int) -> Drawn: ...


class Rests(Protocol):
    """People's own heads (:class:`avatarbench.methods.pointillist.training_set.TrainingSet`)."""

    def rest(self, person: str) -> Tensor: ...


class Subject(NamedTuple):
    """What the decoder reads of one portrait, on the device: ``points``; ``places`` (1, N, 3) in [-1, 1]; ``states``
    (1, N, 4, W) or None; ``image`` (1, I, W'); and the ``skeleton`` that moves its cloud, which is ``scale`` times as
    large as the person's own head: frames are to be seen :meth:`~Frame.scaled` by it."""

    points: Points
    places: Tensor
    states: Tensor | None
    image: Tensor
    skeleton: Skeleton
    scale: float


class Item(NamedTuple):
    """A subject, and the pictures that its cloud is compared with, scaled to it."""

    subject: Subject
    frames: list[Frame]


class Batches:
    """The subjects of every step, in the order of ``config.train.seed``.

    Every draw is made from (seed, number of the item), so a step's are the same however many processes share them and
    wherever a run was interrupted. ``rests``: the people's own heads. Clouds without an end of their own are left out,
    of which ``notes`` tell. Raises DataError where nothing is left.
    """

    def __init__(
        self,
        clouds: Generated,
        rests: Rests,
        frames: Frames,
        movable: Movable,
        config: DecoderConfig,
        device: torch.device,
    ) -> None:
        self.clouds, self.rests, self.frames, self.movable = clouds, rests, frames, movable
        self.config, self.device = config, device
        self.people = [person for person in clouds.people if clouds.portraits[person]]
        self.notes = _left_out(clouds)
        if not self.people:
            raise DataError("no cloud came to an end of its own, so there is nothing to learn: train stage one longer.")
        self._order = Order([1] * len(self.people), config.train.seed)
        self._skeletons: OrderedDict[tuple[str, int], Skeleton] = OrderedDict()

    def items(self, step: int, process: int = 0, processes: int = 1) -> list[Item]:
        """What ``process`` of ``processes`` learns in ``step``: every so-manieth of the step's items."""
        size = self.config.train.batch
        return [self._item(step * size + i) for i in range(process, size, processes)]

    def _item(self, n: int) -> Item:
        generator = generator_at(self.config.train.seed, "item", n)
        person = self.people[self._order[n][0]]
        portraits = self.clouds.portraits[person]
        portrait = portraits[int(torch.randint(len(portraits), (), generator=generator))]
        count, views = self.frames.count(person), self.config.train.views
        # Different ones, as far as there are so many.
        chosen = torch.cat([torch.randperm(count, generator=generator) for _ in range(-(-views // count))])[:views]
        subject = self.subject(person, portrait)
        return Item(subject, self.seen(person, subject, chosen.tolist()))

    def seen(self, person: str, subject: Subject, numbers: Sequence[int]) -> list[Frame]:
        """The person's pictures of these ``numbers``, as a head of the subject's size is to be seen in them."""
        return [self.frames.frame(person, number).scaled(subject.scale) for number in numbers]

    def subject(self, person: str, portrait: int) -> Subject:
        """What the decoder reads of a portrait: generated points and states, or, where the variant has none, the
        vertices of the head that was tracked in it."""
        drawn, device = self.clouds.drawn(person, portrait), self.device
        points = drawn.points if self.config.generated else rig_points(drawn.vertices, self.movable.faces.cpu())
        states = drawn.states[None].to(device) if self.config.reads_states else None
        places = inputs_of(points, self.clouds.tokenizer)[None].to(device)
        return Subject(
            Points(*(part.to(device) for part in points)),
            places,
            states,
            drawn.image[None].to(device),
            self._skeleton(person, portrait, drawn),
            relative_scale(drawn.vertices, self.rests.rest(person)),
        )

    def _skeleton(self, person: str, portrait: int, drawn: Drawn) -> Skeleton:
        key = (person, portrait)
        if key not in self._skeletons:
            self._skeletons[key] = self.movable.skeleton(drawn.vertices, drawn.shape)
        self._skeletons.move_to_end(key)
        while len(self._skeletons) > SKELETONS:
            self._skeletons.popitem(last=False)
        return self._skeletons[key]


def _left_out(clouds: Generated) -> list[str]:
    left = sum(len(reasons) for reasons in clouds.left.values())
    if not left:
        return []
    whole = left + sum(len(numbers) for numbers in clouds.portraits.values())
    nobody = [person for person in clouds.people if not clouds.portraits[person]]
    lost = f", so that nothing is learnt of {', '.join(nobody)}" if nobody else ""
    return [f"{left} of {whole} clouds did not come to an end of their own and are not learnt from{lost}"]
