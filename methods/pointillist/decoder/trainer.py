"""Steps of Adam on the decoder: the same undisturbed or resumed, and on one process or on many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from avatarbench.errors import UsageError
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.render import render
from avatarbench.method import Camera
from avatarbench.methods.pointillist.decoder.batches import Batches, Item, Subject
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.methods.pointillist.decoder.gaussians import cloud_of
from avatarbench.methods.pointillist.decoder.loss import Perceptual, Terms, terms, weighted
from avatarbench.methods.pointillist.decoder.model import Attributes, Decoder
from avatarbench.methods.pointillist.training.ema import Ema
from avatarbench.methods.pointillist.training.seeds import seed_of
from avatarbench.methods.pointillist.training.trainer import Diverged, rate_at


class Step(NamedTuple):
    """One that was made. ``loss``: Eq. 6, and ``terms``: its four, without their weights, all over the step's subjects;
    ``gradient``: its norm before clipping; ``points``: of a subject, the mean; ``interrupted``: some process was asked
    to stop."""

    step: int
    loss: float
    terms: dict[str, float]
    gradient: float
    rate: float
    points: float
    interrupted: bool


class Sums(NamedTuple):
    """Over the items of one process: the loss, and (4,) its terms."""

    loss: Tensor
    terms: Tensor


class Objective(nn.Module):
    """The decoder, what renders it, and the loss in one call, which is what data-parallel wrappers watch."""

    def __init__(self, model: Decoder, perceptual: Perceptual | None) -> None:
        super().__init__()
        self.model = model
        self._perceptual = (perceptual,)  # in a tuple: its frozen weights are nothing to train, keep or share

    def forward(self, items: Sequence[Item]) -> Sums:
        config = self.model.config
        found = [self._terms(item) for item in items]
        loss = torch.stack([weighted(one, config) for one in found]).sum()
        return Sums(loss, torch.stack([torch.stack(one) for one in found]).sum(0))

    def _terms(self, item: Item) -> Terms:
        attributes = decoded(self.model, item.subject)
        if not all(bool(torch.isfinite(part).all()) for part in attributes):  # which no renderer takes
            return Terms(*[attributes.offsets.new_full((), math.nan)] * len(Terms._fields))
        with torch.autocast(attributes.offsets.device.type, enabled=False):
            cloud = cloud_of(item.subject.points, attributes)
            posed = item.subject.skeleton.posed(cloud, [frame.pose for frame in item.frames])
            seen = pictures(posed, [frame.camera for frame in item.frames])
            wanted = torch.stack([frame.image for frame in item.frames]).to(seen)
            bound = self.model.config.limits.offset
            return terms(seen, wanted, attributes.offsets, self._perceptual[0], bound)


def decoded(model: Decoder, subject: Subject) -> Attributes:
    """Of one subject, float32."""
    found = model(subject.places, subject.states, subject.image)
    return Attributes(*(part[0].float() for part in found))


def pictures(posed: Sequence[Cloud], cameras: Sequence[Camera]) -> Tensor:
    """(V, H, W, 3): each cloud on white, as its own camera sees it."""
    white = posed[0].means.new_ones(3)
    return torch.cat([render(c, [camera], background=white).image for c, camera in zip(posed, cameras, strict=True)])


class Trainer:
    """Raises DataError as :class:`Batches` does, AssetError for LPIPS' weights, and UsageError for more processes than
    subjects a step."""

    def __init__(self, batches: Batches, config: DecoderConfig, accelerator: Accelerator) -> None:
        train = config.train
        if accelerator.num_processes > train.batch:
            raise UsageError(
                f"{accelerator.num_processes} processes share {train.batch} subjects a step (train.batch): start fewer "
                "or make it larger."
            )
        self.config, self.accelerator, self.batches = config, accelerator, batches
        shape, width = batches.clouds.image_tokens, batches.clouds.width
        device = accelerator.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(train.seed, "decoder"))
            self.model = Decoder(config, shape, width).to(device)
            self.ema = Ema(self.model, Decoder(config, shape, width).to(device), train.ema)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=train.rate)
        self.perceptual = Perceptual(train.net, device) if train.weights.lpips else None
        self.objective = accelerator.prepare_model(Objective(self.model, self.perceptual))
        self.done = 0
        """Steps made."""

    def step(self, interrupted: Callable[[], bool] = lambda: False) -> Step:
        """Make the next one. ``interrupted``: whether this process was asked to stop, which every process is told of.

        Raises :class:`avatarbench.methods.pointillist.training.trainer.Diverged`, on all processes alike.
        """
        accelerator, train, step = self.accelerator, self.config.train, self.done
        processes, process = accelerator.num_processes, accelerator.process_index
        items = self.batches.items(step, process, processes)
        rate = rate_at(step, train)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        self.objective.train()
        found: Sums = self.objective(items)
        points = sum(len(item.subject.points.bindings) for item in items)
        told = found.terms.new_tensor([float(points), float(interrupted())])
        whole = accelerator.reduce(torch.cat([found.loss.detach()[None], found.terms.detach(), told]).double(), "sum")
        loss, gradient = float(whole[0]) / train.batch, math.nan
        if math.isfinite(loss):
            # Data parallelism averages gradients over processes; the loss is a mean over the subjects of all of them.
            accelerator.backward(found.loss * (processes / train.batch))
            gradient = float(accelerator.clip_grad_norm_(self.model.parameters(), train.clip))
        if not math.isfinite(gradient):
            raise Diverged(
                f"step {step + 1}: the loss is {loss} and its gradient's norm {gradient}, so training stopped before "
                "the weights were touched. Train anew with a lower train.rate or a longer train.warmup."
            )
        self.optimiser.step()
        self.ema.update(step)
        self.done += 1
        means = {name: float(value) / train.batch for name, value in zip(Terms._fields, whole[1:5], strict=True)}
        return Step(self.done, loss, means, gradient, rate, float(whole[5]) / train.batch, bool(whole[6]))
