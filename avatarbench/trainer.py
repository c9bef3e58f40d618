"""What a method that can be trained offers to ``avatarbench train``. Import-light, as :mod:`avatarbench.method` is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One step of a method's training. ``command``: ``"package.module:function"``, a function with typer's annotations,
    imported when the stage is called and not before; its docstring is the stage's help."""

    summary: str
    command: str


@dataclass(frozen=True)
class TrainerSpec:
    """``id``: the method's, which ``avatarbench train`` is given; ``stages`` by name, in the order they are run in.
    ``generate``: ``"package.module:function"``, a :data:`avatarbench.generator.Generator`: ``avatarbench generate``.
    Registered as an entry point of the group ``avatarbench.trainers``, under its ``id``."""

    id: str
    summary: str
    stages: Mapping[str, Stage]
    generate: str | None = None
