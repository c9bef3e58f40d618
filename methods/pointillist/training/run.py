"""``avatarbench train pointillist ar`` from a set to a folder of weights and curves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.methods.pointillist.checkpoint import RIG, faces_digest, save_checkpoint
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.training.batches import Encoder, Subjects, check_set
from avatarbench.methods.pointillist.training.curves import Curves
from avatarbench.methods.pointillist.training.evaluation import Evaluation
from avatarbench.methods.pointillist.training.folder import CONFIG, STATE, WEIGHTS, alone
from avatarbench.methods.pointillist.training.state import PROCESSES, read_state, write_state
from avatarbench.methods.pointillist.training.trainer import Step, Trainer


class Stop(Exception):
    """Training was asked to end; the last step is saved."""


class Watched(NamedTuple):
    """What a watcher is told after a step: ``seconds`` it took, and what evaluation found after it, where it was."""

    step: Step
    seconds: float
    held_out: dict[str, Any] | None


class Interrupt:
    """Asks training to stop at the end of a step."""

    def __init__(self) -> None:
        self.asked = False


def make_accelerator(config: Config) -> Accelerator:
    """Of the processes that ``accelerate launch`` started, or of this one alone."""
    return Accelerator(
        mixed_precision="bf16" if config.train.precision == "bf16" else "no",
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


def train(
    subjects: Subjects,
    out: Path,
    config: Config,
    encoder: Encoder,
    accelerator: Accelerator,
    evaluation: Evaluation | None = None,
    watch: Callable[[Watched], None] = lambda watched: None,
    interrupt: Interrupt | None = None,
) -> Trainer:
    """Train until ``config.train.steps``, or go on with what ``out`` holds. Writes ``state.pt`` (to go on from),
    ``ar.safetensors`` (the averaged weights), ``log.jsonl``, ``curves.png``, ``tensorboard/`` and ``config.json``.

    ``evaluation`` is made every ``train.evaluate_every`` steps and at the end, but not where the run is interrupted:
    then it is made up when the run goes on. ``interrupt``: where it is asked on
    any process, all save and raise :class:`Stop`. Raises DataError for data of another vocabulary, for an ``out`` of
    another training and one that cannot be written, UsageError for an ``out`` that another process trains in or that
    holds something else, and :class:`avatarbench.methods.pointillist.training.trainer.Diverged`.
    """
    check_set(subjects, config)  # before a folder is made
    with ExitStack() as held:
        if accelerator.is_main_process:
            with _written(out):
                held.enter_context(alone(out))
        return _trained(subjects, out, config, encoder, accelerator, evaluation, watch, interrupt or Interrupt())


def _trained(
    subjects: Subjects,
    out: Path,
    config: Config,
    encoder: Encoder,
    accelerator: Accelerator,
    evaluation: Evaluation | None,
    watch: Callable[[Watched], None],
    asked: Interrupt,
) -> Trainer:
    """:func:`train` in a folder that is ours."""
    trainer = Trainer(subjects, config, encoder, accelerator)
    origin = {"data": subjects.digest, "tokenizer": json.dumps(subjects.tokenizer.to_json())}
    if config.transformer.dropout:  # the masks are drawn by each process for its share of a batch
        origin[PROCESSES] = str(accelerator.num_processes)
    seconds = read_state(out / STATE, trainer, origin) if (out / STATE).exists() else 0.0
    main = accelerator.is_main_process
    with _written(out):
        if main:  # a folder that cannot be written is found before the work
            if not (out / STATE).exists():
                _save(trainer, out, origin, seconds, subjects, encoder)
            with writing(out / CONFIG) as temporary:
                temporary.write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
        with Curves(out, trainer.done) if main else nullcontext() as curves:
            if evaluation is not None:
                _make_up(trainer, evaluation, curves, watch)
            while trainer.done < config.train.steps:
                begun = time.monotonic()
                made = trainer.step(lambda: asked.asked)
                passed = time.monotonic() - begun
                seconds += passed
                last = made.step == config.train.steps
                due = last or made.step % config.train.evaluate_every == 0
                judged = evaluation is not None and due and not made.interrupted
                if curves is not None:
                    curves.write(_line(made) | {"seconds": round(passed, 4)})
                    if last or judged or made.interrupted or made.step % config.train.save_every == 0:
                        curves.flush()  # before the state, which must not know of steps that the log lacks
                        _save(trainer, out, origin, seconds, subjects, encoder)
                # After the state, so that a process killed over an evaluation, which may take minutes, costs no step.
                held_out = evaluation(trainer.ema.average, accelerator) if evaluation is not None and judged else None
                if curves is not None:
                    if held_out is not None:
                        curves.judge(held_out)
                    if due or made.interrupted:
                        curves.draw()
                watch(Watched(made, passed, held_out))
                if made.interrupted:
                    raise Stop
    accelerator.wait_for_everyone()
    return trainer


def _make_up(trainer: Trainer, evaluation: Evaluation, curves: Curves | None, watch: Callable[[Watched], None]) -> None:
    """The evaluation of the last step, where it was due and the run was interrupted or killed before it was made."""
    accelerator, train, step = trainer.accelerator, trainer.config.train, trainer.done
    if step == 0 or (step % train.evaluate_every and step != train.steps):
        return
    line = curves.last() if curves is not None else None
    lacking = line is not None and line["step"] == step and "held_out" not in line
    told = accelerator.reduce(torch.tensor([float(lacking)], device=accelerator.device), "sum")  # main alone has a log
    if not bool(told):
        return
    held_out = evaluation(trainer.ema.average, accelerator)
    if curves is not None and line is not None:
        curves.judge(held_out)
        curves.draw()
        made = Step(interrupted=False, **{key: line[key] for key in Step._fields if key != "interrupted"})
        watch(Watched(made, float(line["seconds"]), held_out))


def _line(made: Step) -> dict[str, Any]:
    return {
        "step": made.step,
        "loss": made.loss,
        "entropy": made.entropy,
        "gradient": made.gradient,
        "rate": made.rate,
        "tokens": made.tokens,
        "clamped": made.clamped,
    }


def _save(
    trainer: Trainer, out: Path, origin: dict[str, str], seconds: float, subjects: Subjects, encoder: Encoder
) -> None:
    extra = {
        "steps": trainer.done,
        "seconds": round(seconds, 1),
        "data": subjects.digest,
        "people": len(subjects.people),
        RIG: faces_digest(subjects.faces),
    }
    model = trainer.ema.average
    shape = (encoder.count, encoder.width)
    save_checkpoint(out / WEIGHTS, model, trainer.config, subjects.tokenizer, shape, extra)
    write_state(out / STATE, trainer, origin, seconds)


@contextmanager
def _written(out: Path) -> Iterator[None]:
    """Says of an OSError what can be done about it."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or out} cannot be written ({error.strerror or error}): free some space or choose another "
            "--out. The same command goes on from the last state that was saved."
        ) from error
