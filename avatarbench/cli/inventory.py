"""What is registered, as plain data: what list prints and what show explains. Imports neither torch nor numpy."""

from __future__ import annotations

from dataclasses import asdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from avatarbench import registry
from avatarbench.errors import AssetError, AvatarbenchError

if TYPE_CHECKING:
    from avatarbench.method import MethodSpec
    from avatarbench.protocol import ProtocolSpec


def entries(kind: registry.Kind) -> list[dict[str, Any]]:
    """Every entry of a kind: its spec's fields, its ``owner`` package, what is ``missing`` here, or its ``error``."""
    return [entry(kind, spec) for spec in registry.everything(kind)]


def entry(kind: registry.Kind, spec: Any) -> dict[str, Any]:
    """One entry as :func:`entries` gives it."""
    if isinstance(spec, registry.Broken):
        return {"id": spec.id, "owner": spec.distribution, "status": "broken", "error": spec.error}
    return asdict(spec) | {"owner": registry.owner(kind, spec.id), "missing": missing(kind, spec)}


def missing(kind: registry.Kind, spec: Any) -> list[str]:
    """What would stop this entry here and now, each item short: ``dlib-face``, ``public code``."""
    lacks: list[str] = []
    if kind == "methods":
        lacks += _missing_of_method(spec)
    if kind == "protocols":
        lacks += _missing_of_protocol(spec)
    for asset in getattr(spec, "assets", ()):
        if (state := asset_state(asset)) != "present":
            lacks.append(asset if state == "missing" else f"{asset} ({state})")
    return lacks


def asset_state(asset: str) -> str:
    """``present``, ``missing``, ``corrupt``, ``broken`` in its package, or ``unknown asset``."""
    from avatarbench import assets

    if asset not in assets.ids():
        return "unknown asset"
    try:
        assets.get(asset)
    except AssetError:  # `avatarbench assets list` says what is wrong with it
        return "broken"
    return assets.state(asset)


def users(asset: str) -> list[str]:
    """Registered methods, metrics and datasets that name ``asset``, sorted."""
    kinds: tuple[registry.Kind, ...] = ("methods", "metrics", "datasets")
    specs = (spec for kind in kinds for spec in registry.everything(kind))
    return sorted({spec.id for spec in specs if asset in getattr(spec, "assets", ())})


def _missing_of_method(spec: MethodSpec) -> list[str]:
    lacks = ["public code"] if spec.status == "unavailable" else []
    if spec.environment != "inprocess":
        lacks += _missing_of_isolated(spec.environment)
    lacks += [f"the option '{name}'" for name in spec.brings]
    return [*lacks, *(file.rpartition("/")[2] for file in spec.ships if not _is_there(file))]


def _missing_of_isolated(environment: str) -> list[str]:
    """Its environment, where it is not built yet, and what a run is given: official code and weights are the user's."""
    from avatarbench.isolation import environments, recipe
    from avatarbench.isolation.bring import lacking

    try:
        known = recipe.load(environment)
        built = environments.find(known) is not None
    except AvatarbenchError as error:
        return [str(error)]
    return [*([] if built else [f"environment {known.name}"]), *lacking(known)]


def _is_there(file: str) -> bool:
    """Whether a file ``package:path`` lies in this installation."""
    package, _, path = file.partition(":")
    try:
        return files(package).joinpath(path).is_file()
    except ModuleNotFoundError:
        return False


def _missing_of_protocol(spec: ProtocolSpec) -> list[str]:
    """The assets of its datasets; its metrics' weights are listed with the metrics."""
    lacks: dict[str, None] = {}
    for name in (spec.sources.dataset, spec.drivers.dataset):
        try:
            lacks |= dict.fromkeys(missing("datasets", registry.dataset(name)))
        except AvatarbenchError:  # unknown or broken: either way this protocol cannot run here
            lacks[f"dataset {name}"] = None
    return list(lacks)
