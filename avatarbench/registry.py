"""Lazy registry over entry points: what is installed, without importing what it points to.

A third party's package registers exactly as ours do, with an entry point in one of :data:`GROUPS` whose value is the
import-light spec object.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Literal

from avatarbench.errors import AvatarbenchError, UnknownNameError

if TYPE_CHECKING:
    from avatarbench.dataset import DatasetSpec
    from avatarbench.method import MethodSpec
    from avatarbench.metric import MetricSpec
    from avatarbench.protocol import ProtocolSpec
    from avatarbench.trainer import TrainerSpec

Kind = Literal["methods", "protocols", "metrics", "datasets", "trainers"]
GROUPS: tuple[Kind, ...] = ("methods", "protocols", "metrics", "datasets")
"""What ``avatarbench list`` lists; ``avatarbench train --help`` lists the trainers."""


@dataclass(frozen=True)
class Broken:
    """An entry whose spec cannot be imported: listed with its error, never a reason to stop listing the others."""

    id: str
    distribution: str
    error: str


@cache
def _entries(kind: Kind) -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=f"avatarbench.{kind}"), key=lambda e: (e.name, e.value)):
        other = found.get(entry.name)
        if other is not None and other.value != entry.value:
            raise AvatarbenchError(
                f"two packages register the {kind[:-1]} '{entry.name}': "
                f"{_owner(other)} and {_owner(entry)}. Uninstall one."
            )
        found[entry.name] = entry
    return found


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown package"


def names(kind: Kind) -> list[str]:
    """Registered ids, sorted. Imports nothing."""
    return list(_entries(kind))


def suggest(name: str, known: list[str]) -> str:
    """``", did you mean 'x' or 'y'?"`` or the whole list where nothing is near."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return ", did you mean " + " or ".join(f"'{n}'" for n in near) + "?"
    return f". Known: {', '.join(known) or 'none'}."


def _spec(kind: Kind, name: str) -> Any:
    entry = _entries(kind).get(name)
    if entry is None:
        raise UnknownNameError(f"unknown {kind[:-1]} '{name}'{suggest(name, names(kind))}")
    try:
        spec = entry.load()
    except Exception as error:  # a third party's module may raise anything
        raise AvatarbenchError(
            f"the {kind[:-1]} '{name}' of {_owner(entry)} cannot be loaded from {entry.value}: "
            f"{type(error).__name__}: {error}"
        ) from error
    found = getattr(spec, "id", None)
    if found != name:
        raise AvatarbenchError(
            f"entry point '{name}' of {_owner(entry)} gives a spec whose id is '{found}': make them equal."
        )
    return spec


def method(name: str) -> MethodSpec:
    """The method's spec. Raises UnknownNameError with the near misses."""
    return _spec("methods", name)


def protocol(name: str) -> ProtocolSpec:
    """The protocol's spec. Raises UnknownNameError with the near misses."""
    return _spec("protocols", name)


def metric(name: str) -> MetricSpec:
    """The metric's spec. Raises UnknownNameError with the near misses."""
    return _spec("metrics", name)


def dataset(name: str) -> DatasetSpec:
    """The dataset's spec. Raises UnknownNameError with the near misses."""
    return _spec("datasets", name)


def trainer(name: str) -> TrainerSpec:
    """The spec of a method's training. Raises UnknownNameError with the near misses."""
    return _spec("trainers", name)


def everything(kind: Kind) -> list[Any | Broken]:
    """All specs of a kind for listing, a broken one as :class:`Broken`."""
    found: list[Any | Broken] = []
    for name, entry in _entries(kind).items():
        try:
            found.append(_spec(kind, name))
        except AvatarbenchError as error:
            found.append(Broken(name, _owner(entry), str(error)))
    return found


def owner(kind: Kind, name: str) -> str:
    """The distribution that registers ``name``."""
    return _owner(_entries(kind)[name])


def load(factory: str) -> Callable[..., Any]:
    """The object behind ``"package.module:attribute"``. Raises AvatarbenchError naming the factory."""
    module, _, attribute = factory.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise AvatarbenchError(f"cannot load '{factory}': {error}") from error
