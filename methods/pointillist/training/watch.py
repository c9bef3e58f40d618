"""The bar of a training, and what stops it."""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType
from typing import Any

from rich.progress import Progress, TextColumn

from avatarbench.methods.pointillist.training.loop import Interrupt, Watched
from avatarbench.run.progress import console, progress_bar


class Watch:
    """The bar, on the first process alone, and what stops training: Ctrl-C and SIGTERM wait for the end of a step and
    for its state to be saved; asked twice, they do not.

    ``pace``: words on a step's speed; ``told``: one line of an evaluation after a step. ``made``: steps so far.
    """

    def __init__(
        self,
        interrupt: Interrupt,
        steps: int,
        shown: bool,
        pace: Callable[[Watched], str],
        told: Callable[[int, dict[str, Any]], str],
    ) -> None:
        figures = TextColumn("loss {task.fields[loss]:.4g}{task.fields[pace]}")
        self._bar = Progress(TextColumn("{task.description}"), *progress_bar().columns[1:], figures, console=console)
        self._task = self._bar.add_task("train", total=steps, loss=float("nan"), pace="", start=False)
        self._interrupt, self._shown, self._pace, self._told = interrupt, shown, pace, told
        self.made = 0

    def __enter__(self) -> None:
        if self._shown:
            self._bar.start()

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, watched: Watched) -> None:
        step = watched.step
        if not self.made:
            self._bar.update(self._task, completed=step.step - 1)
            self._bar.start_task(self._task)
        self.made += 1
        if self._shown and watched.held_out is not None:
            self._bar.console.print(self._told(step.step, watched.held_out), highlight=False, soft_wrap=True)
        self._bar.update(self._task, completed=step.step, loss=step.loss, pace=f", {self._pace(watched)}")

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._interrupt.asked:
            raise KeyboardInterrupt
        self._interrupt.asked = True
