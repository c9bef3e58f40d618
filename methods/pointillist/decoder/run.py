"""``avatarbench train pointillist decoder`` from clouds and pictures to a folder of weights and curves."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from accelerate import Accelerator

from avatarbench.files import writing
from avatarbench.methods.pointillist.decoder.batches import Batches
from avatarbench.methods.pointillist.decoder.checkpoint import load_decoder, save_decoder
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.methods.pointillist.decoder.curves import plot
from avatarbench.methods.pointillist.decoder.trainer import Step, Trainer
from avatarbench.methods.pointillist.decoder.validation import FOLDER, Validation
from avatarbench.methods.pointillist.training.folder import CONFIG, DECODER, STATE, alone
from avatarbench.methods.pointillist.training.loop import Interrupt, Loop, Watched, written
from avatarbench.methods.pointillist.training.state import read_state, write_state

WEIGHTS = DECODER


class Origin(NamedTuple):
    """What the weights come from: digests of the training ``data``, of the ``clouds`` and of the ``views``; the
    fingerprint of the stage one that made the clouds, ``ar``; ``rig``: the digest of the faces that bindings name;
    ``sampling``: how the clouds were drawn (``Clouds.sampling``), of which their digest tells too."""

    data: str
    clouds: str
    views: str
    ar: str
    rig: str
    sampling: dict[str, Any] | None = None

    def digests(self) -> dict[str, str]:
        """What training depends on, by name."""
        return {key: value for key, value in self._asdict().items() if key != "sampling"}


def train(
    batches: Batches,
    origin: Origin,
    out: Path,
    config: DecoderConfig,
    accelerator: Accelerator,
    validation: Validation | None = None,
    watch: Callable[[Watched], None] = lambda watched: None,
    interrupt: Interrupt | None = None,
) -> Trainer:
    """Train until ``config.train.steps``, or go on with what ``out`` holds. Writes ``state.pt`` (to go on from),
    ``decoder.safetensors`` (the averaged weights), ``log.jsonl``, ``curves.png``, ``tensorboard/``, ``config.json``
    and, with ``validation``, ``validation/step-NNNNNN.png``.

    ``validation`` is made every ``train.evaluate_every`` steps and at the end, but not where the run is interrupted:
    then it is made up when the run goes on. ``interrupt``: where it is asked on any process, all save and raise
    :class:`avatarbench.methods.pointillist.training.loop.Stop`. Raises DataError for an ``out`` of another training and
    one that cannot be written, UsageError for an ``out`` that another process trains in or that holds something else,
    and :class:`avatarbench.methods.pointillist.training.trainer.Diverged`.
    """
    with ExitStack() as held:
        if accelerator.is_main_process:
            with written(out):
                held.enter_context(alone(out, WEIGHTS, load_decoder))
        trainer = Trainer(batches, config, accelerator)
        described = {**origin.digests(), "tokenizer": json.dumps(batches.clouds.tokenizer.to_json())}
        seconds = read_state(out / STATE, trainer, described) if (out / STATE).exists() else 0.0

        def save(seconds: float) -> None:
            _save_weights(out / WEIGHTS, trainer, origin, seconds)
            write_state(out / STATE, trainer, described, seconds)

        def judge() -> dict[str, Any]:
            assert validation is not None
            sheet = out / FOLDER / f"step-{trainer.done:06d}.png"
            return validation(trainer.ema.average, trainer.perceptual, accelerator, sheet)

        with written(out):
            if accelerator.is_main_process:  # a folder that cannot be written is found before the work
                if not (out / STATE).exists():
                    save(seconds)
                with writing(out / CONFIG) as temporary:
                    temporary.write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")
            asked, judged = interrupt or Interrupt(), None if validation is None else judge
            Loop(trainer, config.train, out, save, judged, watch, asked, _made, plot).run(seconds)
        return trainer


def _made(line: Mapping[str, Any]) -> Step:
    return Step(interrupted=False, **{key: line[key] for key in Step._fields if key != "interrupted"})


def _save_weights(path: Path, trainer: Trainer, origin: Origin, seconds: float) -> None:
    batches, config = trainer.batches, trainer.config
    extra = {
        "steps": trainer.done,
        "seconds": round(seconds, 1),
        "people": len(batches.people),
        "data": origin.data,
        "clouds": origin.clouds,
        "views": origin.views,
    } | (origin.sampling or {})
    save_decoder(
        path,
        trainer.ema.average,
        config,
        batches.clouds.image_tokens,
        origin.ar if config.generated else None,
        batches.clouds.tokenizer,
        origin.rig,
        extra,
    )
