"""Steps until the last one, whatever is trained: saved, logged and judged when that is due, and stopped when asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from avatarbench.errors import DataError
from avatarbench.methods.pointillist.training.curves import Curves


class Stop(Exception):
    """Training was asked to end; the last step is saved."""


class Interrupt:
    """Asks training to stop at the end of a step."""

    def __init__(self) -> None:
        self.asked = False


class Made(Protocol):
    """A step that was made, a named tuple: what the log says of it, and whether some process was asked to stop."""

    @property
    def step(self) -> int: ...

    @property
    def loss(self) -> float: ...

    @property
    def interrupted(self) -> bool: ...

    def _asdict(self) -> dict[str, Any]: ...


class Watched(NamedTuple):
    """What a watcher is told after a step: ``seconds`` it took, and what evaluation found after it, where it was."""

    step: Any
    seconds: float
    held_out: dict[str, Any] | None


class Schedule(Protocol):
    """When what is done, in steps."""

    @property
    def steps(self) -> int: ...

    @property
    def evaluate_every(self) -> int: ...

    @property
    def save_every(self) -> int: ...


class Trains(Protocol):
    """``done``: steps made."""

    accelerator: Accelerator
    done: int

    def step(self, interrupted: Callable[[], bool]) -> Made: ...


class Loop:
    """``save``: writes weights and state, given the seconds trained; ``evaluation``: on all processes, of what the
    trainer holds, or None; ``made``: a step from its line in the log; ``draw``: the log's lines to a picture."""

    def __init__(
        self,
        trainer: Trains,
        schedule: Schedule,
        out: Path,
        save: Callable[[float], None],
        evaluation: Callable[[], dict[str, Any]] | None,
        watch: Callable[[Watched], None],
        asked: Interrupt,
        made: Callable[[Mapping[str, Any]], Made],
        draw: Callable[[list[dict[str, Any]], Path], None] | None = None,
    ) -> None:
        self.trainer, self.schedule, self.out, self.save = trainer, schedule, out, save
        self.evaluation, self.watch, self.asked, self.made, self.draw = evaluation, watch, asked, made, draw

    def run(self, seconds: float) -> None:
        """To the last step; ``seconds``: trained so far. Raises :class:`Stop` where it is asked to on any process, when
        the step is saved; OSError where ``out`` cannot be written."""
        trainer, schedule = self.trainer, self.schedule
        main = trainer.accelerator.is_main_process
        with Curves(self.out, trainer.done, self.draw) if main else nullcontext() as curves:
            if self.evaluation is not None:
                self._make_up(curves)
            while trainer.done < schedule.steps:
                begun = time.monotonic()
                made = trainer.step(lambda: self.asked.asked)
                passed = time.monotonic() - begun
                seconds += passed
                last = made.step == schedule.steps
                due = last or made.step % schedule.evaluate_every == 0
                judged = self.evaluation is not None and due and not made.interrupted
                if curves is not None:
                    curves.write(line_of(made) | {"seconds": round(passed, 4)})
                    if last or judged or made.interrupted or made.step % schedule.save_every == 0:
                        curves.flush()  # before the state, which must not know of steps that the log lacks
                        self.save(seconds)
                # After the state, so that a process killed over an evaluation, which may take minutes, costs no step.
                held_out = self.evaluation() if self.evaluation is not None and judged else None
                if curves is not None:
                    if held_out is not None:
                        curves.judge(held_out)
                    if due or made.interrupted:
                        curves.draw()
                self.watch(Watched(made, passed, held_out))
                if made.interrupted:
                    raise Stop
        trainer.accelerator.wait_for_everyone()

    def _make_up(self, curves: Curves | None) -> None:
        """The evaluation of the last step, where it was due and the run was interrupted or killed before it was
        made."""
        assert self.evaluation is not None
        schedule, step, accelerator = self.schedule, self.trainer.done, self.trainer.accelerator
        if step == 0 or (step % schedule.evaluate_every and step != schedule.steps):
            return
        line = curves.last() if curves is not None else None
        lacking = line is not None and line["step"] == step and "held_out" not in line
        # The main process alone has a log.
        told = accelerator.reduce(torch.tensor([float(lacking)], device=accelerator.device), "sum")
        if not bool(told):
            return
        held_out = self.evaluation()
        if curves is not None and line is not None:
            curves.judge(held_out)
            curves.draw()
            self.watch(Watched(self.made(line), float(line["seconds"]), held_out))


def line_of(made: Made) -> dict[str, Any]:
    """What the log says of a step."""
    return {name: value for name, value in made._asdict().items() if name != "interrupted"}


def make_accelerator(precision: str) -> Accelerator:
    """Of the processes that ``accelerate launch`` started, or of this one alone. ``precision``: fp32 or bf16."""
    return Accelerator(
        mixed_precision="bf16" if precision == "bf16" else "no",
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


@contextmanager
def written(out: Path) -> Iterator[None]:
    """Says of an OSError what can be done about it."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or out} cannot be written ({error.strerror or error}): free some space or choose another "
            "--out. The same command goes on from the last state that was saved."
        ) from error
