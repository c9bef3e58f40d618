"""The file that an interrupted training goes on from."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.methods.pointillist.training.ema import Ema

FORMAT = 1
"""Raised when training can no longer go on from what an earlier version wrote."""

FREE = ("train.evaluate_every", "train.save_every", "generate.")
"""What may change on the way, since no weight depends on it. ``train.steps`` may where the rate does not fall."""

PROCESSES = "number of processes"
"""In an origin, where weights depend on it."""


class Resumable(Protocol):
    """A trainer of either stage. ``config``: has a section ``train``; ``done``: steps made."""

    config: Any
    model: Any
    ema: Ema
    optimiser: Any  # a torch.optim.Optimizer, or what has its state_dict and load_state_dict
    done: int


def write_state(path: Path, trainer: Resumable, origin: Mapping[str, str], seconds: float) -> None:
    """``origin``: what the weights depend on beside the configuration, by name. Raises OSError."""
    content = io.BytesIO()  # torch's own file writer hides a full disk behind a RuntimeError
    state = {
        "format": FORMAT,
        "step": trainer.done,
        "seconds": seconds,
        "config": trainer.config.model_dump_json(),
        "origin": dict(origin),
        "model": trainer.model.state_dict(),
        "average": trainer.ema.average.state_dict(),
        "optimiser": trainer.optimiser.state_dict(),
    }
    torch.save(state, content)
    with writing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read_state(path: Path, trainer: Resumable, origin: Mapping[str, str]) -> float:
    """Take up what was written, and return the seconds trained until then.

    Raises DataError for a file that is damaged or of something else, and for training on other data or with another
    configuration, naming the difference.
    """
    state = _opened(path)
    try:
        theirs = json.loads(state["config"])
        found = dict(state["origin"])
        if PROCESSES not in found:  # written before it was recorded
            origin = {key: value for key, value in origin.items() if key != PROCESSES}
        ours = json.loads(trainer.config.model_dump_json())
        _check_same(path, {**flat(theirs), **found}, {**flat(ours), **origin}, trainer.config)
        trainer.model.load_state_dict(state["model"])
        trainer.ema.average.load_state_dict(state["average"])
        trainer.optimiser.load_state_dict(state["optimiser"])
        trainer.done = int(state["step"])
        return float(state["seconds"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path} is no state of this training: {reason}. Remove it and train again.") from error


def flat(values: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    """Nested sections as dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{start}{key}.") if isinstance(value, dict) else {f"{start}{key}": value}
    return found


def _opened(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, TypeError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{path} cannot be read ({reason}). Remove it and train again.") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        written = state.get("format", "unknown") if isinstance(state, dict) else "unknown"
        raise DataError(
            f"{path} was written by another version of avatarbench (format {written}, and this one reads {FORMAT}). "
            "Remove it and train again."
        )
    return state


def _check_same(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any], config: Any) -> None:
    free = (*FREE, "train.steps") if config.train.decay == "none" else FREE
    lines = [
        f"{key} is {theirs.get(key, 'missing')!r} there and {ours.get(key, 'missing')!r} here"
        for key in sorted(theirs.keys() | ours.keys())
        if theirs.get(key) != ours.get(key) and not key.startswith(free)
    ]
    if lines:
        raise DataError(
            f"{path.parent} holds another training:\n  " + "\n  ".join(lines) + "\nGo on with what it was begun with, "
            "or choose another --out."
        )
