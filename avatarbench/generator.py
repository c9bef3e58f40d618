"""What a method that makes point clouds of portraits offers to ``avatarbench generate``. Import-light."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from avatarbench.errors import UsageError

Watch = Callable[[str, int, int, str], None]
"""Told what is being done, how much of it is, of how much at most, and a few words on its pace."""


Precision = Literal["fp32", "bf16"]

SEEDS = 2**63
"""A seed is below: what the generators of random numbers take."""


@dataclass(frozen=True)
class Request:
    """``outs``: a PLY for each of ``portraits``; ``checkpoint``: None for what ships; of the sampling, what is None
    is as the checkpoint has it, and a ``top_k`` of 0 takes all; ``points``: the bound; ``states``: an .npz as well;
    ``precision``: bf16 on CUDA only."""

    portraits: tuple[Path, ...]
    outs: tuple[Path, ...]
    checkpoint: Path | None = None
    seed: int = 0
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    points: int | None = None
    guidance: float | None = None
    spacing: float | None = None
    consensus: int | None = None
    states: bool = False
    device: str = "auto"
    precision: Precision = "fp32"


class Made(NamedTuple):
    """What became of one portrait. ``files``: what was written, none where there is a ``failure``; ``ended``: the
    method came to an end by itself, and not to the bound; ``notes``: what a user should know."""

    portrait: Path
    files: tuple[Path, ...] = ()
    points: int = 0
    seconds: float = 0.0
    ended: bool = False
    notes: tuple[str, ...] = ()
    failure: str | None = None


Generator = Callable[[Request, Watch], list[Made]]
"""One :class:`Made` a portrait, in their order. A portrait that cannot be used is a failure of its own, and
AvatarbenchError is for what concerns all. A file is written whole or not at all."""


def probe(folder: Path, option: str) -> None:
    """See that files can be written in ``folder`` before hours go into them; what is not there is not made yet. Raises
    UsageError naming ``option``."""
    above = folder.absolute()
    try:
        while not above.exists() and above != above.parent:
            above = above.parent
        with tempfile.TemporaryFile(dir=above):
            pass
    except OSError as error:
        raise UsageError(
            f"{option} {folder}: nothing can be written there ({above}: {error.strerror or error}). Name another."
        ) from error
