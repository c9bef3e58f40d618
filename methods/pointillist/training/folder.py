"""The folder of a training run: one process trains in it, and nothing that cannot go on is written over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from avatarbench.errors import AvatarbenchError, DataError, UsageError
from avatarbench.files import leftovers
from avatarbench.methods.pointillist.checkpoint import load_checkpoint
from avatarbench.methods.pointillist.training.curves import LOG, PLOT, read_log

STATE, WEIGHTS, CONFIG = "state.pt", "ar.safetensors", "config.json"
DECODER = "decoder.safetensors"
"""The weights of stage two, which trains in folders of its own."""
LOCK = ".lock"


class Trained(Protocol):
    """A file of weights that was read; ``extra``: the trainer's words."""

    @property
    def extra(self) -> dict[str, Any]: ...


@contextmanager
def alone(out: Path, weights: str = WEIGHTS, load: Callable[[Path], Trained] = load_checkpoint) -> Iterator[None]:
    """Nobody else trains in ``out`` meanwhile. ``weights``: the name of the file that is trained there, and ``load``:
    what reads it.

    Raises UsageError where somebody does, where it is a file, and where it holds anything but a training of these
    weights that can go on; OSError where it cannot be made.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder with --out.")
    check_folder(out, weights, load)
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"another process is training in {out}: wait for it, or choose another --out.") from None
    try:
        # Again, since another process may have trained between the first look and the lock.
        check_folder(out, weights, load)
        for partial in (p for name in (STATE, weights, CONFIG, LOG, PLOT) for p in leftovers(out / name)):
            partial.unlink()
        yield
    finally:
        lock.release()


def check_folder(out: Path, weights: str = WEIGHTS, load: Callable[[Path], Trained] = load_checkpoint) -> None:
    """Raises UsageError for a folder that holds something and no state to go on from, or other weights."""
    if not out.is_dir():
        return
    for other in {WEIGHTS, DECODER} - {weights}:
        if (out / other).exists():
            raise UsageError(f"{out} holds {other}, another stage's training: choose another --out.")
    if (out / STATE).exists():
        return
    here = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
    if not here or (
        here == [weights] and _steps(out / weights, load) == 0
    ):  # killed before the first state was written
        return
    if weights in here or LOG in here:
        steps = _steps(out / weights, load)
        what = (
            f"weights of {'unknown' if steps is None else steps} steps" if weights in here else "the log of a training"
        )
        raise UsageError(
            f"{out} holds {what} but no {STATE} to go on from, and training anew would write over it: choose another "
            "--out."
        )
    shown = ", ".join(here[:5]) + (", ..." if len(here) > 5 else "")
    raise UsageError(f"{out} is not empty and no training ({shown}): choose another --out.")


def _steps(path: Path, load: Callable[[Path], Trained]) -> int | None:
    """How many the weights were trained, or else the log tells of; None where neither can be read."""
    try:
        return int(load(path).extra["steps"])
    except (AvatarbenchError, KeyError, TypeError, ValueError):
        pass
    try:
        lines = read_log(path.parent / LOG)
        return int(lines[-1]["step"]) if lines else None
    except (DataError, OSError, KeyError, TypeError, ValueError):
        return None
