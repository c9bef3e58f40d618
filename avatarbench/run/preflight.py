"""Preflight: everything that a run lacks, found before any work and reported in one list."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from avatarbench import assets, registry
from avatarbench.capability import granted, obstacle
from avatarbench.dataset import Dataset, camera_of, square_of, views_of
from avatarbench.errors import AvatarbenchError, DataError, PreflightError, Unscorable, UsageError
from avatarbench.method import MethodSpec, Need, Views
from avatarbench.metric import MetricSpec
from avatarbench.protocol import Manifest, ProtocolSpec
from avatarbench.run.config import RunConfig
from avatarbench.run.plan import held_out
from avatarbench.run.progress import console

T = TypeVar("T")
TRACKER = "face-landmarker"


@dataclass
class Preflight:
    """What a run is made of, and what is wrong with it.

    ``fatal`` leaves nothing to do: no data, no tracker. ``optional`` may be skipped; ``without_methods`` and
    ``without_metrics`` then say, by id and as short as a table's cell, why there is no value. ``absent``: what the
    protocol provides and the data of this run lacks, and why; no method gets it in any frame. ``notes``: what a reader
    of the run has to know of its inputs.
    """

    protocol: ProtocolSpec
    methods: list[MethodSpec]
    metrics: list[MetricSpec]
    datasets: dict[str, Dataset] = field(default_factory=dict)
    without_methods: dict[str, str] = field(default_factory=dict)
    without_metrics: dict[str, str] = field(default_factory=dict)
    absent: dict[Need, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    fatal: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)

    @property
    def runnable_methods(self) -> list[MethodSpec]:
        return [m for m in self.methods if m.id not in self.without_methods]

    @property
    def runnable_metrics(self) -> list[MetricSpec]:
        return [m for m in self.metrics if m.id not in self.without_metrics]

    def verdict(self, skip_missing: bool) -> None:
        """Raise PreflightError with the whole list, where anything on it stops this run."""
        fatal = list(self.fatal)
        nothing = not self.runnable_methods or not self.runnable_metrics
        if nothing or not skip_missing:
            fatal += self.optional
        if nothing:
            fatal.append(f"no {'metric' if self.runnable_methods else 'method'} is left to run")
        if fatal:
            hint = "\nTo run without what is missing, add --skip-missing." if self.optional and not nothing else ""
            listed = "\n  - ".join(dict.fromkeys(fatal))
            raise PreflightError(
                f"'{self.protocol.id}' cannot start:\n  - {listed}{'' if skip_missing or self.fatal else hint}"
            )


def resolve(config: RunConfig) -> Preflight:
    """Names to specs. Raises UsageError with every unknown name and its near misses at once."""
    errors: list[str] = []
    protocols = _look_up(registry.protocol, [config.protocol], errors)
    methods = _look_up(registry.method, config.methods, errors)
    metrics = _look_up(registry.metric, config.metrics or (protocols[0].metrics if protocols else ()), errors)
    errors += [
        f"options were given for '{name}', which this run does not contain{registry.suggest(name, config.methods)}"
        for name in config.method
        if name not in config.methods
    ]
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
    """Fill in datasets, problems and what has to be left out. Fetches the assets that may be fetched unasked."""
    missing = _missing_assets(found, config)
    if TRACKER in missing and found.protocol.image.crop == "face":
        found.fatal.append(f"the face tracker crops every frame and is missing: {missing[TRACKER]}")
    if config.device.startswith("cuda") and not _sees_cuda():
        found.fatal.append(f"device={config.device} was asked for and torch sees no CUDA device")
    _open_datasets(found, config, missing)
    for method in found.methods:
        _check_method(found, method, config.method.get(method.id, {}), missing)
    for metric in found.metrics:
        if metric.against == "target" and "target" not in found.protocol.provides:
            text = f"metric '{metric.id}' compares with the true frame, which '{found.protocol.id}' does not have"
            found.optional.append(text)
            found.without_metrics.setdefault(metric.id, "needs target")
        for asset in metric.assets:
            if asset in missing:
                found.optional.append(f"metric '{metric.id}' lacks {missing[asset]}")
                found.without_metrics.setdefault(metric.id, "weights")
    if not found.fatal and (config.skip_missing or not found.optional):
        _make_ready(found, config)


def check_set_sizes(found: Preflight, manifest: Manifest, references: int) -> None:
    """A set metric that has too few frames by the protocol's own making is not applicable, rather than failed."""
    pairs = len(manifest.pairs)
    for metric in found.runnable_metrics:
        fewest = min(references, pairs)
        if metric.kind == "set" and fewest < metric.minimum:
            what = "reference frame" if references <= pairs else "prediction"
            reason = f"{fewest} {what}{'s' if fewest != 1 else ''}, needs {metric.minimum}"
            found.without_metrics[metric.id] = reason
            if len(found.runnable_metrics) == 0:
                found.fatal.append(f"metric '{metric.id}' has {reason}")


def check_cameras(found: Preflight, manifest: Manifest) -> None:
    """Either every source and driver sequence of the run has a camera, or no method gets any: one that needs it is
    left out, one that wants it does without. FLAME tracking has cameras of its own."""
    tracked = "flame" not in found.absent
    asking = [m for m in found.runnable_methods if "camera" in granted(m, found.protocol).needs]
    asking = [m for m in asking if not (tracked and "flame" in m.needs)]
    if not asking:
        return
    lacking: list[str] = []
    for dataset, sequence in dict.fromkeys(
        (r.dataset, r.sequence) for p in manifest.pairs for r in (p.source, p.driver)
    ):
        try:
            if camera_of(found.datasets[dataset], sequence) is None:
                lacking.append(f"'{sequence}' has no calibrated camera")
        except DataError as error:
            lacking.append(str(error))
    if lacking:
        found.absent["camera"] = first_of(lacking, "sequences")
        for method in asking:
            if "camera" in method.needs:
                found.optional.append(f"method '{method.id}' needs cameras: {found.absent['camera']}")
                found.without_methods[method.id] = "no camera"


def check_frames(found: Preflight, manifest: Manifest) -> None:
    """Data that was prepared has one frame: the protocol's, and no other size, crop or method's own frame."""
    sequences = {p.source.dataset: p.source.sequence for p in manifest.pairs}
    for dataset, sequence in sequences.items():
        try:
            prepared = square_of(found.datasets[dataset], sequence, manifest.image) is not None
        except Unscorable:  # a sequence without a face is prepared data's too
            prepared = True
        except DataError as error:
            found.fatal.append(str(error))
            continue
        for method in found.runnable_methods if prepared else ():
            if method.framing is not None:
                found.optional.append(
                    f"method '{method.id}' works in a frame of its own, which data prepared for the protocol's lacks: "
                    "run on the original data"
                )
                found.without_methods[method.id] = "own frame"


def check_views(found: Preflight, manifest: Manifest, config: RunConfig) -> None:
    """A method that needs views can work from those of every source person, and avatars that ship are there."""
    needy = [m for m in found.runnable_methods if "views" in m.needs]
    if not needy:
        return
    held = held_out(found.protocol, manifest, config, found.datasets)
    people: list[Views] = []
    lacking: list[str] = []
    for dataset, sequence in dict.fromkeys((p.source.dataset, p.source.sequence) for p in manifest.pairs):
        views = views_of(found.datasets[dataset], sequence, held)
        if views is None:
            lacking.append(f"dataset '{dataset}' has no further views of the person of '{sequence}'")
        elif views.avatar is not None and not views.avatar.is_file():
            lacking.append(
                f"the avatar of person '{views.person}', which ships with the data, is not there (looked for "
                f"{views.avatar}): install avatarbench again"
            )
        elif views not in people:
            people.append(views)
    for method in needy:
        try:
            ask = getattr(registry.load(method.factory), "lacking", None)
        except AvatarbenchError as error:
            found.fatal.append(str(error))
            continue
        if why := [*lacking, *(ask(people) if ask else ())]:
            found.optional.append(f"method '{method.id}' needs views: {first_of(why, 'people')}")
            found.without_methods[method.id] = "no views"


def first_of(problems: list[str], what: str) -> str:
    """The first problem, and of how many ``what`` there are more."""
    return problems[0] + (f" ({len(problems)} {what} in all)" if len(problems) > 1 else "")


def _check_method(found: Preflight, method: MethodSpec, options: dict[str, object], missing: dict[str, str]) -> None:
    why = obstacle(method, found.protocol)
    if why is not None:
        found.optional.append(f"method '{method.id}' cannot run on '{found.protocol.id}': {why}")
        found.without_methods[method.id] = why
        return
    tracked = (TRACKER,) if "mediapipe" in granted(method, found.protocol).needs else ()
    for asset in dict.fromkeys((*method.assets, *tracked)):
        if asset in missing:
            found.optional.append(f"method '{method.id}' lacks {missing[asset]}")
            found.without_methods.setdefault(method.id, "weights")
    if options and method.id not in found.without_methods:
        try:
            inspect.signature(registry.load(method.factory)).bind(**options)
        except TypeError as error:
            found.fatal.append(f"method '{method.id}' does not take these options: {error}")
            return
        except AvatarbenchError as error:
            found.fatal.append(str(error))
            return
    if method.id not in found.without_methods and (obstacles := _obstacles(method, options)):
        found.optional.append(f"method '{method.id}' cannot be set up: {'; '.join(obstacles)}")
        found.without_methods[method.id] = "setup"


def _obstacles(method: MethodSpec, options: dict[str, object]) -> list[str]:
    """What a method that can be asked says of itself. One that cannot be imported fails as it is set up, by itself."""
    try:
        ask = getattr(registry.load(method.factory), "obstacles", None)
    except AvatarbenchError:
        return []
    return list(ask(**options)) if ask else []


def _make_ready(found: Preflight, config: RunConfig) -> None:
    """Environments are built before any work, once nothing else is in the way: the longest may take an hour."""
    for method in found.runnable_methods:
        if method.environment == "inprocess":
            continue
        try:
            ready = getattr(registry.load(method.factory), "prepare", None)
        except AvatarbenchError as error:
            problems = [str(error)]
        else:
            problems = list(ready(**config.method.get(method.id, {}))) if ready else []
        if problems:
            found.optional.append(f"method '{method.id}' has no environment: {'; '.join(problems)}")
            found.without_methods[method.id] = "environment"


def _sees_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _missing_assets(found: Preflight, config: RunConfig) -> dict[str, str]:
    """Asset id -> why it cannot be had; what may be fetched unasked is fetched here."""
    wanted = [TRACKER]
    for name in found.protocol.datasets:
        if name not in config.data:
            wanted += registry.dataset(name).assets
    wanted += (asset for method in found.methods for asset in method.assets)
    wanted += (asset for metric in found.metrics for asset in metric.assets)
    with assets.BarProgress(console) as progress:
        return {name: str(error) for name, error in assets.ensure(dict.fromkeys(wanted), progress).items()}


def _open_datasets(found: Preflight, config: RunConfig, missing: dict[str, str]) -> None:
    names = found.protocol.datasets
    found.fatal.extend(
        f"'{found.protocol.id}' reads no dataset '{name}': it reads {', '.join(names)}"
        for name in config.data
        if name not in names
    )
    for name in names:
        spec = registry.dataset(name)
        lacking = [missing[a] for a in spec.assets if a in missing and name not in config.data]
        if lacking:
            found.fatal.append(f"dataset '{name}' lacks {'; '.join(lacking)}")
            continue
        try:
            root = Path(config.data[name]) if name in config.data else None
            found.datasets[name] = _tracked(registry.load(spec.factory)(root), config)
        except AvatarbenchError as error:
            found.fatal.append(f"dataset '{name}': {error}")


def _tracked(dataset: Dataset, config: RunConfig) -> Dataset:
    """With the imported FLAME tracking that the run was given, where it was. Raises DataError."""
    if config.tracker is None:
        return dataset
    from avatarbench.datasets.tracked import TrackedDataset

    return TrackedDataset(dataset, config.tracker, None if config.tracking is None else Path(config.tracking))
