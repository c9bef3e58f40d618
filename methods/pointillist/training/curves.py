"""What a training run writes about itself: ``log.jsonl``, TensorBoard's events, ``curves.png``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from avatarbench.errors import DataError
from avatarbench.files import writing

LOG, PLOT, EVENTS = "log.jsonl", "curves.png", "tensorboard"


class Curves:
    """Of a run in ``folder`` that goes on after step ``done``: what was written of later steps, by a run that was
    killed, is taken back. ``draw``: makes the picture of the log's lines; stage one's where None. A context
    manager."""

    def __init__(
        self, folder: Path, done: int, draw: Callable[[list[dict[str, Any]], Path], None] | None = None
    ) -> None:
        self._log_path = folder / LOG
        lines = kept(read_log(self._log_path), done)
        with writing(self._log_path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        self._last = lines[-1] if lines else None
        self._log = self._log_path.open("a", encoding="utf-8")
        self._folder, self._draw = folder, draw
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / EVENTS), purge_step=done + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log.close()
        self._board.close()

    def write(self, line: dict[str, Any]) -> None:
        """``line``: its ``step``, and numbers, or sections of numbers."""
        self._log.write(json.dumps(line) + "\n")
        self._last = line
        self._plotted(line, line["step"])

    def last(self) -> dict[str, Any] | None:
        """The line of the last step, None before the first one."""
        return self._last

    def judge(self, held_out: dict[str, Any]) -> None:
        """Add to the line of the last step, which was written, what evaluation found after it."""
        self.flush()
        lines = read_log(self._log_path)
        self._last = lines[-1] = lines[-1] | {"held_out": held_out}
        with writing(self._log_path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        self._log.close()
        self._log = self._log_path.open("a", encoding="utf-8")
        self._plotted({"held_out": held_out}, lines[-1]["step"])

    def _plotted(self, values: dict[str, Any], step: int) -> None:
        for name, value in _flat(values).items():
            if name != "step":
                self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        """Bring what was written to the disk."""
        self._log.flush()
        self._board.flush()

    def draw(self) -> None:
        """The plot of what was written; it takes a second."""
        self.flush()
        (self._draw or plot)(read_log(self._log_path), self._folder / PLOT)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, none where there is no file; a last line that a killed process left half is passed over.

    Raises DataError for a line before it that is none.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    found = []
    for number, line in enumerate(lines):
        try:
            if line:
                found.append(dict(json.loads(line)))
        except ValueError as error:
            if any(lines[number + 1 :]):
                raise DataError(f"{path}: line {number + 1} is no JSON object ({error}). Remove the file.") from error
    return found


def kept(lines: list[dict[str, Any]], done: int) -> list[dict[str, Any]]:
    """Those of steps that the state remembers."""
    return [line for line in lines if int(line["step"]) <= done]


def plot(lines: list[dict[str, Any]], path: Path) -> None:
    """Cross-entropy by kind against steps: smoothed over a fiftieth of them while training, and on held-out people."""
    from matplotlib.figure import Figure

    steps = [line for line in lines if "entropy" in line]
    held = [line for line in lines if "held_out" in line]
    figure = Figure(figsize=(9 if held else 5, 4), layout="constrained")
    left, *others = figure.subplots(1, 2 if held else 1, squeeze=False)[0]
    for kind in ("all", "x", "y", "z", "binding", "end"):
        known = [(line["step"], line["entropy"][kind]) for line in steps if kind in line["entropy"]]
        if not known:
            continue
        (drawn,) = left.plot(*smoothed(known), label=kind, linewidth=1)
        shown = [
            (line["step"], line["held_out"]["entropy"][kind]) for line in held if kind in line["held_out"]["entropy"]
        ]
        if shown:
            left.plot(*zip(*shown, strict=True), "--", color=drawn.get_color(), linewidth=1)
        hits = [
            (line["step"], line["held_out"]["accuracy"][kind]) for line in held if kind in line["held_out"]["accuracy"]
        ]
        for right in others if hits else ():
            right.plot(*zip(*hits, strict=True), label=kind, color=drawn.get_color(), linewidth=1)
    title = "trained on (solid), held out (dashed)" if held else "trained on"
    left.set(xlabel="step", ylabel="cross-entropy, nats a token", title=title)
    for right in others:
        right.set(xlabel="step", ylabel="share of tokens", title="held out: most likely token is the true one")
    for axes in (left, *others):
        if axes.lines:
            axes.legend(fontsize=8)
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def smoothed(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    """Means over a fiftieth of the steps, with the last step of each."""
    width = max(1, len(points) // 50)
    parts = [points[i : i + width] for i in range(0, len(points), width)]
    return [part[-1][0] for part in parts], [sum(value for _, value in part) / len(part) for part in parts]


def _flat(values: dict[str, Any], start: str = "") -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{start}{key}/")
        elif isinstance(value, (int, float)):
            found[f"{start}{key}"] = float(value)
    return found
