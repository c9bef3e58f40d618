"""``avatarbench train pointillist ar`` from a set to a folder of weights and curves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from avatarbench.files import writing
from avatarbench.heads.rig import faces_digest
from avatarbench.methods.pointillist.checkpoint import COUNTS, ENCODER, MARKS, RIG, save_checkpoint
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.training.batches import Encoder, check_set
from avatarbench.methods.pointillist.training.evaluation import Evaluation, Marked
from avatarbench.methods.pointillist.training.folder import CONFIG, STATE, WEIGHTS, alone
from avatarbench.methods.pointillist.training.loop import Interrupt, Loop, Stop, Watched, make_accelerator, written
from avatarbench.methods.pointillist.training.state import PROCESSES, read_state, write_state
from avatarbench.methods.pointillist.training.trainer import Step, Trainer

__all__ = ["STATE", "WEIGHTS", "Interrupt", "Stop", "Watched", "make_accelerator", "train"]


def train(
    subjects: Marked,
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
            with written(out):
                held.enter_context(alone(out))
        return _trained(subjects, out, config, encoder, accelerator, evaluation, watch, interrupt or Interrupt())


def _trained(
    subjects: Marked,
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

    learnt: dict[str, Any] = {}

    def save(seconds: float) -> None:
        learnt.update(learnt or _learnt(subjects, encoder))
        _save(trainer, out, origin, seconds, subjects, (encoder.count, encoder.width), learnt)

    judge = None if evaluation is None else lambda: evaluation(trainer.ema.average, accelerator)
    with written(out):
        if accelerator.is_main_process:  # a folder that cannot be written is found before the work
            if not (out / STATE).exists():
                save(seconds)
            with writing(out / CONFIG) as temporary:
                temporary.write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
        Loop(trainer, config.train, out, save, judge, watch, asked, _made).run(seconds)
    return trainer


def _made(line: Mapping[str, Any]) -> Step:
    return Step(interrupted=False, **{key: line[key] for key in Step._fields if key != "interrupted"})


def _learnt(subjects: Marked, encoder: Encoder) -> dict[str, Any]:
    """What the weights have learnt from, for those who use them later."""
    counts = [len(subjects.cloud(person).bindings) for person in subjects.people]
    return {
        "data": subjects.digest,
        "people": len(subjects.people),
        RIG: faces_digest(subjects.faces),
        ENCODER: encoder.fingerprint,
        COUNTS: [min(counts), max(counts)],
        MARKS: {person: dict(subjects.marks(person)) for person in subjects.people},
    }


def _save(
    trainer: Trainer,
    out: Path,
    origin: dict[str, str],
    seconds: float,
    subjects: Marked,
    shape: tuple[int, int],
    learnt: dict[str, Any],
) -> None:
    extra = {"steps": trainer.done, "seconds": round(seconds, 1)} | learnt
    model = trainer.ema.average
    save_checkpoint(out / WEIGHTS, model, trainer.config, subjects.tokenizer, shape, extra)
    write_state(out / STATE, trainer, origin, seconds)
