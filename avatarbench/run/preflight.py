"""Preflight: everything that a run lacks, found before any work and reported in one list."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from avatarbench import assets, registry
from avatarbench.dataset import Dataset
from avatarbench.errors import AvatarbenchError, PreflightError, UsageError
from avatarbench.method import MethodSpec
from avatarbench.metric import MetricSpec
from avatarbench.protocol import ProtocolSpec
from avatarbench.run.config import RunConfig
from avatarbench.run.progress import console

T = TypeVar("T")
TRACKER = "face-landmarker"


@dataclass
class Preflight:
    """What a run is made of. ``unavailable`` says why a method or metric will have no value: by id."""

    protocol: ProtocolSpec
    methods: list[MethodSpec]
    metrics: list[MetricSpec]
    datasets: dict[str, Dataset] = field(default_factory=dict)
    unavailable: dict[str, str] = field(default_factory=dict)

    @property
    def runnable_methods(self) -> list[MethodSpec]:
        return [m for m in self.methods if m.id not in self.unavailable]

    @property
    def runnable_metrics(self) -> list[MetricSpec]:
        return [m for m in self.metrics if m.id not in self.unavailable]


def resolve(config: RunConfig) -> Preflight:
    """Names to specs. Raises UsageError with every unknown name and its near misses at once."""
    errors: list[str] = []
    protocols = _look_up(registry.protocol, [config.protocol], errors)
    methods = _look_up(registry.method, config.methods, errors)
    metrics = _look_up(registry.metric, config.metrics or (protocols[0].metrics if protocols else ()), errors)
    if errors:
        raise UsageError("\n".join(errors))
    return Preflight(protocols[0], methods, metrics)


def _look_up(find: Callable[[str], T], names: Iterable[str], errors: list[str]) -> list[T]:
    found = []
    for name in dict.fromkeys(names):
        try:
            found.append(find(name))
        except AvatarbenchError as error:
            errors.append(str(error))
    return found


def check(found: Preflight, config: RunConfig) -> None:
    """Fill in datasets and what is unavailable.

    Raises PreflightError listing every problem, where one is fatal or ``skip_missing`` is off. Fatal is what leaves
    nothing to do: no data, no tracker, no method, no metric.
    """
    fatal: list[str] = []
    optional: dict[str, str] = {}
    tables: dict[str, str] = {}
    missing = _missing_assets(found, config)
    if TRACKER in missing:
        fatal.append(f"the face tracker crops every frame and is missing: {missing[TRACKER]}")
    _open_datasets(found, config, missing, fatal)
    for method in found.methods:
        lacks = found.protocol.unmet(method.needs)
        if method.status == "unavailable":
            _put(optional, tables, method.id, f"method '{method.id}' is unavailable: {method.notes}", "no public code")
        elif lacks:
            what = ", ".join(lacks)
            text = f"method '{method.id}' needs {what}, which '{found.protocol.id}' does not provide"
            _put(optional, tables, method.id, text, f"needs {what}")
        for asset in method.assets:
            if asset in missing:
                _put(optional, tables, method.id, f"method '{method.id}' lacks {missing[asset]}", "weights")
    for metric in found.metrics:
        if metric.against == "target" and "target" not in found.protocol.provides:
            text = f"metric '{metric.id}' compares with the true frame, which '{found.protocol.id}' does not have"
            _put(optional, tables, metric.id, text, "needs target")
        for asset in metric.assets:
            if asset in missing:
                _put(optional, tables, metric.id, f"metric '{metric.id}' lacks {missing[asset]}", "weights")
    found.unavailable.update(tables)
    if not found.runnable_methods or not found.runnable_metrics:
        what = "method" if not found.runnable_methods else "metric"
        fatal.extend(optional.values())
        fatal.append(f"no {what} is left to run")
    elif not config.skip_missing:
        fatal.extend(optional.values())
    if fatal:
        hint = "" if config.skip_missing else "\nTo run without what is missing, add --skip-missing."
        raise PreflightError("this run cannot start:\n  - " + "\n  - ".join(dict.fromkeys(fatal)) + hint)


def _put(optional: dict[str, str], tables: dict[str, str], name: str, text: str, cell: str) -> None:
    optional[name] = f"{optional[name]}; {text}" if name in optional else text
    tables.setdefault(name, cell)


def _missing_assets(found: Preflight, config: RunConfig) -> dict[str, str]:
    """Asset id -> why it cannot be had; what may be fetched unasked is fetched here."""
    wanted = [TRACKER]
    for name in _dataset_names(found):
        if name not in config.data:
            wanted += registry.dataset(name).assets
    wanted += (asset for method in found.methods for asset in method.assets)
    wanted += (asset for metric in found.metrics for asset in metric.assets)
    with assets.BarProgress(console) as progress:
        return {name: str(error) for name, error in assets.ensure(dict.fromkeys(wanted), progress).items()}


def _dataset_names(found: Preflight) -> list[str]:
    return list(dict.fromkeys((found.protocol.sources.dataset, found.protocol.drivers.dataset)))


def _open_datasets(found: Preflight, config: RunConfig, missing: dict[str, str], fatal: list[str]) -> None:
    names = _dataset_names(found)
    fatal.extend(
        f"'{found.protocol.id}' reads no dataset '{name}': it reads {', '.join(names)}"
        for name in config.data
        if name not in names
    )
    for name in names:
        spec = registry.dataset(name)
        lacking = [missing[a] for a in spec.assets if a in missing and name not in config.data]
        if lacking:
            fatal.append(f"dataset '{name}' lacks {'; '.join(lacking)}")
            continue
        try:
            root = Path(config.data[name]).expanduser() if name in config.data else None
            found.datasets[name] = registry.load(spec.factory)(root)
        except AvatarbenchError as error:
            fatal.append(f"dataset '{name}': {error}")
