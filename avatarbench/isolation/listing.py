"""What environments there are, and which kinds of them work here, for people to read."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from avatarbench.isolation import store
from avatarbench.isolation.backend import backend
from avatarbench.isolation.recipe import BACKENDS, Recipe

_ASKED = Recipe(method="any", python=".".join(map(str, sys.version_info[:2])))


@dataclass(frozen=True)
class Row:
    """One environment. ``size``: bytes with its image, None where docker cannot be asked; ``built``: UTC, or empty."""

    name: str
    method: str
    backend: str
    state: str
    size: int | None
    built: str


@dataclass(frozen=True)
class Report:
    """One backend: what does its work, and what it lacks here."""

    name: str
    version: str
    lacks: list[str]


def rows() -> list[Row]:
    """Every environment in the store, by name."""
    return [_row(name) for name in store.names()]


def _row(name: str) -> Row:
    folder = store.folder(name)
    recipe, ready = store.read(folder / store.RECIPE), store.read(folder / store.READY)
    used, own = str(recipe.get("backend", "?")), store.size_bytes(name)
    outside = backend(used).size(name, folder) if used in BACKENDS and ready else 0
    return Row(
        name,
        str(recipe.get("method") or name.rpartition("-")[0]),
        used,
        _state(name, used, bool(ready)),
        None if outside is None else own + outside,
        str(ready.get("built", "")),
    )


def _state(name: str, used: str, ready: bool) -> str:
    folder = store.folder(name)
    if store.is_locked(name):
        return "being built"
    if ready and used in BACKENDS:
        return "ready" if backend(used).is_there(name, folder) else "what was built is gone, or docker does not answer"
    begun = store.read(folder / store.MARKS).get("begun")
    return f"half built, in the step '{begun}'" if begun else "half built"


def backends() -> list[Report]:
    """Each backend as it works here, asked for our own version of Python."""
    return [Report(name, backend(name).version(), backend(name).why_not(_ASKED)) for name in BACKENDS]
