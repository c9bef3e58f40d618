"""Steps of training on stage one, the same undisturbed or resumed, and on one process or on many but for dropout: each
process draws masks of its own, so that a run with dropout goes on with the number of processes it was begun with."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avatarbench.errors import AvatarbenchError, UsageError
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.start import geometric
from avatarbench.methods.pointillist.surface import normalised, sample_surface
from avatarbench.methods.pointillist.tokenizer import to_sequence
from avatarbench.methods.pointillist.training.batches import Batches, Encoder, Subjects
from avatarbench.methods.pointillist.training.ema import Ema
from avatarbench.methods.pointillist.training.loss import KINDS, Sums, sums
from avatarbench.methods.pointillist.training.optimiser import SCALE, optimiser_of
from avatarbench.methods.pointillist.training.seeds import generator_at, seed_of

HEADS = 64
"""People whose tracked heads tell training's start by what heads differ."""


class Diverged(AvatarbenchError):
    """The loss or its gradient is no number any more; the weights are still those of the step before."""


class Step(NamedTuple):
    """One that was made. ``loss``: what is minimised, and ``entropy``: plain cross-entropy, by kind and of ``all``,
    nats a token; ``gradient``: its norm before clipping; ``tokens`` that were asked; ``interrupted``: some process was
    asked to stop."""

    step: int
    loss: float
    entropy: dict[str, float]
    gradient: float
    rate: float
    tokens: int
    clamped: int
    interrupted: bool


class Objective(nn.Module):
    """The model and its loss in one call, which is what data-parallel wrappers watch."""

    def __init__(self, model: StageOne) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, following: Tensor, image: Tensor, samples: Tensor, told: Tensor) -> Sums:
        model, config = self.model, self.model.config
        context = model.condition(image, samples) * told[:, None, None]
        states = model.states(tokens, context)
        return sums(
            states, model.head, model.vocabulary, tokens, following, config.grammar.training, config.train.smooth
        )


class Trainer:
    """Raises DataError as :class:`Batches` does and UsageError for more processes than windows a step."""

    def __init__(self, subjects: Subjects, config: Config, encoder: Encoder, accelerator: Accelerator) -> None:
        train = config.train
        if accelerator.num_processes > train.batch:
            raise UsageError(
                f"{accelerator.num_processes} processes share {train.batch} windows a step (train.batch): start fewer "
                "or make it larger."
            )
        self.config, self.accelerator = config, accelerator
        self.batches = Batches(subjects, config, encoder, accelerator.device)
        shape = (encoder.count, encoder.width)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(train.seed, "weights"))
            self.model = begin(StageOne(config, shape), subjects).to(accelerator.device)
            self.ema = Ema(self.model, StageOne(config, shape).to(accelerator.device), train.ema)
        if train.checkpointing:
            recompute(self.model)
        self.optimiser = optimiser_of(self.model, train)
        self.objective = accelerator.prepare_model(Objective(self.model))
        self.done = 0
        """Steps made."""

    def step(self, interrupted: Callable[[], bool] = lambda: False) -> Step:
        """Make the next one. ``interrupted``: whether this process was asked to stop, which every process is told of.

        Raises :class:`Diverged`, on all processes alike.
        """
        accelerator, train, step = self.accelerator, self.config.train, self.done
        processes, process = accelerator.num_processes, accelerator.process_index
        batch = self.batches.batch(step, process, processes)
        rate = rate_at(step, train)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get(SCALE, 1.0)
        self.optimiser.zero_grad()
        self.objective.train()
        with torch.random.fork_rng(devices=_devices(accelerator.device)):
            torch.manual_seed(seed_of(train.seed, "dropout", step, process))
            found: Sums = self.objective(batch.tokens, batch.following, batch.image, batch.samples, batch.told)
            whole = self._everywhere(found, batch.clamped, interrupted())
            # Data parallelism averages gradients over processes; the loss is a mean over the tokens of all of them.
            accelerator.backward(found.loss * (processes / whole.asked.clamp_min(1)))
        gradient = float(accelerator.clip_grad_norm_(self.model.parameters(), train.clip))
        loss = float(whole.loss / whole.asked.clamp_min(1))
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            raise Diverged(
                f"step {step + 1}: the loss is {loss} and its gradient's norm {gradient}, so training stopped before "
                "the weights were touched. Train anew with a lower train.rate or a longer train.warmup."
            )
        self.optimiser.step()
        self.ema.update(step)
        self.done += 1
        counts = whole.counts.tolist()
        entropy = {kind: e / n for kind, e, n in zip(KINDS, whole.entropy.tolist(), counts, strict=True) if n}
        entropy["all"] = float(whole.entropy.sum() / whole.asked.clamp_min(1))
        return Step(
            self.done, loss, entropy, gradient, rate, int(whole.asked), int(whole.clamped), bool(whole.interrupted)
        )

    def _everywhere(self, found: Sums, clamped: int, interrupted: bool) -> _Whole:
        """The sums over all processes."""
        told = found.loss.new_tensor([float(clamped), float(interrupted)])
        parts = [found.loss.detach().reshape(1), found.asked.reshape(1), told, found.entropy, found.counts]
        whole = self.accelerator.reduce(torch.cat([part.double() for part in parts]), "sum")
        return _Whole(whole[0], whole[1], whole[2], whole[3], whole[4 : 4 + len(KINDS)], whole[4 + len(KINDS) :])


class _Whole(NamedTuple):
    loss: Tensor
    asked: Tensor
    clamped: Tensor
    interrupted: Tensor
    entropy: Tensor
    counts: Tensor


def begin(model: StageOne, subjects: Subjects) -> StageOne:
    """A model before its first step, as ``transformer.start`` says: of drawn weights, or of ones that know the places
    of levels and of the faces on the set's mean head."""
    config = model.config
    if config.transformer.start == "geometric":
        generator = generator_at(config.train.seed, "start", 0)
        head = torch.stack([subjects.rest(person) for person in subjects.people]).mean(0)
        tokenizer, faces = subjects.tokenizer, subjects.faces
        corners = normalised(sample_surface(head, faces, 4 * (1 + config.points.latents), generator), tokenizer)
        centres = to_sequence(head[faces].mean(1), tokenizer.up)
        places = (centres - torch.tensor(tokenizer.cube.low)) / tokenizer.cube.side
        tracked = [subjects.portraits(person)[0].vertices for person in subjects.people[:HEADS]]
        heads = [sample_surface(vertices, faces, config.points.samples, generator) for vertices in tracked]
        geometric(model, corners, places.float(), normalised(torch.stack(heads), tokenizer), generator)
    return model


class Rated(Protocol):
    """What of a training's configuration decides the learning rate."""

    rate: float
    warmup: int
    decay: Literal["none", "cosine", "late"]
    late: int
    steps: int


def rate_at(step: int, train: Rated) -> float:
    """The learning rate of a step (from 0): up linearly over ``warmup``, then constant, or along a cosine to 0, or
    constant but for the last ``late`` steps, in which it falls linearly to 0."""
    if step < train.warmup:
        return train.rate * (step + 1) / train.warmup
    if train.decay == "none":
        return train.rate
    if train.decay == "late":
        return train.rate * min(1.0, (train.steps - step) / max(1, train.late))
    part = (step - train.warmup) / max(1, train.steps - train.warmup)
    return train.rate * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))


def recompute(model: nn.Module) -> None:
    """Let the blocks of the transformer's layers be computed again in the backward pass instead of remembered."""
    from x_transformers import Decoder  # stage_one has imported it by now, without torch's warning

    for layers in model.modules():
        if isinstance(layers, Decoder):
            for _, block, _ in layers.layers:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def _devices(device: torch.device) -> list[torch.device]:
    """Whose random state a step changes, beside the CPU's."""
    return [device] if device.type == "cuda" else []
