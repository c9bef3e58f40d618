"""Point clouds sampled from a trained stage one: exact with respect to its weights, and as fast as memory allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.errors import UsageError
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.engine.cpu import CpuStepper
from avatarbench.methods.pointillist.engine.graphs import TensorStepper
from avatarbench.methods.pointillist.engine.guidance import Guided
from avatarbench.methods.pointillist.engine.sampling import Draws, Rules
from avatarbench.methods.pointillist.engine.spacing import TRIES, Apart
from avatarbench.methods.pointillist.engine.stepper import Stepper
from avatarbench.methods.pointillist.engine.weights import Packed, pack
from avatarbench.methods.pointillist.engine.window import ROWS, Policy, Window
from avatarbench.methods.pointillist.stage_one import Output, StageOne
from avatarbench.methods.pointillist.tokenizer import SLOTS

Reason = Literal["ended", "bound", "cancelled"]


class Generated(NamedTuple):
    """One subject's sequence. ``tokens`` (4 N + 8,) int64: start block, N points, end block; ``states`` (4 N, W) in the
    engine's dtype: those whose logits predicted the points' tokens, so that states[i] belongs to tokens[4 + i]; (0, W)
    where they were not asked for.

    ``reason``: the model ended it, it had as many points as the bound allows, or it was cancelled; the end block is
    there in all three. Sampled without the grammar, "ended" leaves the block that holds the first end token as it was
    sampled. ``seconds``: from the call to this subject's end. ``left_out``: of a consensus
    (:func:`avatarbench.methods.pointillist.draw.draw`), how many of its draws did not go into it.
    """

    tokens: Tensor
    states: Tensor
    reason: Reason
    seconds: float
    left_out: int = 0


class Progress(NamedTuple):
    """``points`` of each subject so far, ``rate`` over all of them a second; ``left``: seconds until the bound at this
    rate, None before there is one: the model may end a sequence at any point before."""

    points: tuple[int, ...]
    rate: float
    left: float | None
    bound: int


Watch = Callable[[Progress], bool | None]
"""Is told after every few points. True cancels: what there is so far is returned. What it raises comes through."""


class Engine:
    """Steps through a copy of ``model``'s weights in ``dtype``, on its device.

    On a CPU by compiled kernels, in float32; on CUDA by captured graphs, in float32 or bfloat16.

    Raises UsageError for an architecture or a dtype that it does not know.
    """

    def __init__(self, model: StageOne, dtype: torch.dtype = torch.float32) -> None:
        self.vocabulary, self.config = model.vocabulary, model.config
        self.device = model.head.weight.device
        if self.device.type == "cpu" and dtype != torch.float32:
            raise UsageError(f"the engine steps in float32 on a CPU, not in {dtype}: ask for that, or move to CUDA.")
        if dtype not in (torch.float32, torch.bfloat16):
            raise UsageError(f"the engine steps in float32 or bfloat16, not in {dtype}.")
        self.packed = pack(model, dtype)
        self.kind: Callable[[Packed, Tensor, Window, Rules, Generate], Stepper] = CpuStepper
        if self.device.type != "cpu":
            self.kind = TensorStepper

    @torch.inference_mode()
    def generate(
        self,
        context: Tensor,
        options: Generate,
        seeds: Sequence[int],
        watch: Watch | None = None,
        states: bool = True,
    ) -> list[Generated]:
        """One sequence for each row of ``context`` (B, C, W) of ``model.condition``, sampled with the seed of its own:
        on a CPU, the same one for any batch and any mates in it. The grammar holds where ``config.grammar.sampling``
        says so. Without ``states``, which are most of the memory that it takes, none are kept.

        Raises UsageError for as many seeds as there are no subjects, DataError where the logits are not finite.
        """
        if len(seeds) != len(context) or not len(context):
            raise UsageError(f"{len(seeds)} seeds for {len(context)} subjects: give each of them one.")
        run = _Run(self, options, seeds, watch, states)
        for group in torch.arange(len(context)).split(ROWS if options.guidance == 1 else ROWS // 2):
            run.follow(self.stepper(context[group], options, SLOTS * (options.points + 2)), group.numpy())
        return run.results()

    @torch.inference_mode()
    def logits(self, tokens: Tensor, context: Tensor, policy: Policy) -> Output:
        """What generation would have been told before each of the given tokens: ``tokens`` (B, T), of which the first 4
        are a window's start and T is a multiple of 4, are fed as it feeds them, window after window.

        Logits (B, T, V) and states (B, T, W); those at t predict token t + 1, as those of ``model(...)`` do.
        """
        tokens = self._whole(tokens)
        stepper = self.stepper(context, Generate(policy=policy), tokens.shape[1])
        states = list(stepper.begin(tokens[:, :SLOTS]).unbind(1))
        head = self.packed.weights.head
        logits = [torch.nn.functional.linear(state, head) for state in states[:-1]] + [stepper.logits()]
        for t in range(SLOTS, tokens.shape[1]):
            if stepper.window.full:
                stepper.refill(tokens[:, t - stepper.window.kept : t])
            states.append(stepper.feed(tokens[:, t]))
            logits.append(stepper.logits())
        return Output(torch.stack(logits, 1), torch.stack(states, 1))

    @torch.inference_mode()
    def states(self, tokens: Tensor, context: Tensor, policy: Policy) -> Tensor:
        """The states (B, T, W) that :meth:`logits` has for the same arguments, without logits, and a window at once
        where the policy reads windows anew: equal but for rounding, and several times faster."""
        tokens = self._whole(tokens)
        stepper = self.stepper(context, Generate(policy=policy), tokens.shape[1])
        done = min(tokens.shape[1], stepper.window.length)
        found = [stepper.begin(tokens[:, :done])]
        while done < tokens.shape[1]:
            if policy == "roll":
                found.append(stepper.feed(tokens[:, done])[:, None])
                done += 1
                continue
            again = done - stepper.window.kept
            stop = min(tokens.shape[1], again + stepper.window.length)
            found.append(stepper.begin(tokens[:, again:stop])[:, stepper.window.kept :])
            done = stop
        return torch.cat(found, 1)

    def stepper(self, context: Tensor, options: Generate, tokens: int) -> Stepper:
        """For sequences of ``tokens`` tokens at most."""
        window = Window(self.config.window.length, options.policy, tokens)
        if context.ndim != 3 or context.shape[2] != self.packed.weights.head.shape[1]:
            raise UsageError(f"a context {tuple(context.shape)} is not (B, C, {self.packed.weights.head.shape[1]}).")
        context = context.detach().to(self.device, self.packed.weights.head.dtype)
        both = context if options.guidance == 1 else torch.cat([context, torch.zeros_like(context)])
        rules = Rules(self.vocabulary, self.config.grammar.sampling, len(both))
        inner = self.kind(self.packed, both, window, rules, options)
        return inner if options.guidance == 1 else Guided(inner, options.guidance)

    def _whole(self, tokens: Tensor) -> Tensor:
        """``tokens`` (B, T) on the engine's device: generated ones lie on the CPU."""
        if tokens.shape[1] < SLOTS or tokens.shape[1] % SLOTS:
            raise UsageError(f"{tokens.shape[1]} tokens are no whole number of points, which have {SLOTS} each.")
        return tokens.to(self.device)


class _Run:
    """What one call of :meth:`Engine.generate` has gathered."""

    def __init__(
        self, engine: Engine, options: Generate, seeds: Sequence[int], watch: Watch | None, states: bool
    ) -> None:
        self.vocabulary, self.device, self.bound = engine.vocabulary, engine.device, options.points
        self.watch, self.cancelled, self.begun = watch, False, time.perf_counter()
        self.with_states = states
        self.draws = [Draws(seed) for seed in seeds]
        self.tokens = [[torch.full((SLOTS,), self.vocabulary.start)] for _ in seeds]
        self.states = [[engine.packed.weights.head[:0].cpu()] for _ in seeds]
        self.counts = [0] * len(seeds)
        self.found: list[Generated | None] = [None] * len(seeds)
        self.apart = Apart(self.vocabulary, options.spacing, self.bound, len(seeds)) if options.spacing else None

    def follow(self, stepper: Stepper, subjects: NDArray[np.int64]) -> None:
        """The subjects of one stepper to their ends."""
        stepper.begin(self._last(subjects, SLOTS))
        while len(stepper.rows) and not self.cancelled:
            going = subjects[stepper.rows]
            if stepper.window.full:
                stepper.refill(self._last(going, stepper.window.kept))
            # One point more than the bound: the end may come there.
            left, room = self.bound + 1 - self.counts[going[0]], stepper.window.room
            at_once = 1 if self.apart else stepper.points_at_once
            points = min(at_once, left, left if room is None else room // SLOTS)
            draws = np.stack([self.draws[subject].take(SLOTS * points) for subject in going])
            tokens, states = (found.cpu() for found in stepper.points(draws))
            if self.apart:
                self._spread(self.apart, stepper, going, tokens, states)
            go_on = np.array([self._add(*each) for each in zip(going, tokens, states, strict=True)])
            self.cancelled = self.watch is not None and bool(self.watch(self._progress()))
            if not go_on.all():
                stepper.keep(go_on)

    def _spread(self, apart: Apart, stepper: Stepper, going: NDArray[np.int64], tokens: Tensor, states: Tensor) -> None:
        """Draws those of the points ``tokens`` (N, 4) again, in place, that are too near to earlier ones."""
        for _ in range(TRIES):
            near = np.array([apart.near(*each) for each in zip(going, tokens, strict=True)])
            if not near.any():
                break
            draws = np.stack([self.draws[subject].take(SLOTS) for subject in going[near]])
            rows = torch.from_numpy(near)
            tokens[rows], states[rows] = (found.cpu() for found in stepper.again(near, draws))
        for subject, block in zip(going, tokens, strict=True):
            apart.add(subject, block)

    def results(self) -> list[Generated]:
        """Of all subjects; those that were not finished have been cancelled."""
        for subject, found in enumerate(self.found):
            if found is None:
                self._finish(subject, "cancelled")
        return [found for found in self.found if found is not None]

    def _last(self, subjects: NDArray[np.int64], count: int) -> Tensor:
        """(N, count): their last tokens."""
        return torch.stack([torch.cat(self.tokens[subject])[-count:] for subject in subjects]).to(self.device)

    def _add(self, subject: int, tokens: Tensor, states: Tensor) -> bool:
        """The next points (4 P,) and their states (4 P, W). Whether the subject goes on."""
        blocks = tokens.reshape(-1, SLOTS)
        over = torch.nonzero((blocks == self.vocabulary.end).any(1))[:, 0]
        whole = int(over[0]) if len(over) else len(blocks)
        bounded = min(whole, self.bound - self.counts[subject])
        self.tokens[subject].append(blocks[:bounded].reshape(-1))
        if self.with_states:
            self.states[subject].append(states[: SLOTS * bounded].clone())
        self.counts[subject] += bounded
        if bounded < whole:
            self._finish(subject, "bound")
        elif len(over):
            self._finish(subject, "ended", blocks[whole])
        return self.found[subject] is None

    def _finish(self, subject: int, reason: Reason, block: Tensor | None = None) -> None:
        block = torch.full((SLOTS,), self.vocabulary.end) if block is None else block
        tokens, states = torch.cat([*self.tokens[subject], block]), torch.cat(self.states[subject])
        self.found[subject] = Generated(tokens, states, reason, time.perf_counter() - self.begun)
        self.states[subject] = []

    def _progress(self) -> Progress:
        rate = sum(self.counts) / max(time.perf_counter() - self.begun, 1e-9)
        going = [self.bound - count for count, found in zip(self.counts, self.found, strict=True) if found is None]
        return Progress(tuple(self.counts), rate, sum(going) / rate if rate else None, self.bound)
