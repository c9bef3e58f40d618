"""From specs to the entries of ``run.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

from avatarbench import assets, registry
from avatarbench.capability import granted
from avatarbench.errors import AvatarbenchError
from avatarbench.method import MethodSpec
from avatarbench.metric import MetricSpec
from avatarbench.protocol import Manifest, ProtocolSpec
from avatarbench.run.local import Planned
from avatarbench.run.preflight import TRACKER, Preflight
from avatarbench.run.record import MethodRecord, MetricRecord, ProtocolRecord


def describe_protocol(
    spec: ProtocolSpec, manifest: Manifest, planned: Planned | None = None, data: str | None = None
) -> ProtocolRecord:
    """``planned``: how the pairs came about, where they were drawn here; ``data``: the data folder's own mark."""
    return ProtocolRecord(
        id=spec.id,
        version=spec.version,
        name=spec.name,
        task=spec.task,
        manifest=manifest.digest(),
        pairs=len(manifest.pairs),
        size=manifest.image.size,
        spec=asdict(spec),
        manifest_from="" if planned is None else "local",
        data=data,
        altered=0 if planned is None else len(planned.altered),
        background=manifest.image.background,
    )


class Origin(NamedTuple):
    """Whose code and weights a method runs, for the record, and what a reader has to know of that."""

    found: dict[str, Any]
    remarks: list[str]


def origin_of(spec: MethodSpec, options: dict[str, Any]) -> Origin:
    """What the method says of itself with these options, where it can be asked; one that cannot be imported fails as it
    is set up, by itself. Raises AssetError for a weight that cannot be read.
    """
    try:
        method: Any = registry.load(spec.factory)
    except AvatarbenchError:
        return Origin({}, [])
    if not hasattr(method, "origin"):
        return Origin({}, [])
    found = dict(method.origin(**options))
    remarks = method.remarks(found) if hasattr(method, "remarks") else []
    return Origin(found, [f"{spec.id}: {remark}" for remark in remarks])


def describe_method(spec: MethodSpec, options: dict[str, Any], found: Preflight) -> MethodRecord:
    reads = granted(spec, found.protocol, found.absent).needs
    drivers = {spec.tracker, TRACKER if "mediapipe" in reads else None} - {None}
    unavailable = found.without_methods.get(spec.id)
    origin = {} if unavailable else origin_of(spec, options).found
    stand_in = bool(origin.get("stand_in"))
    families = {registry.dataset(name).family or name for name in found.protocol.datasets}
    return MethodRecord(
        id=spec.id,
        name=f"{spec.name} (stand-in)" if stand_in else spec.name,
        role=spec.role,
        spec=asdict(spec),
        options=options,
        unavailable=unavailable,
        reads=list(reads),
        tracker_is_judge=[m.id for m in found.runnable_metrics if m.judge in drivers],
        in_domain=bool(families & set(spec.trained_on)),
        stand_in=stand_in,
        origin=origin,
    )


def describe_metric(spec: MetricSpec, unavailable: str | None) -> MetricRecord:
    return MetricRecord(
        id=spec.id,
        name=spec.name,
        version=spec.version,
        kind=spec.kind,
        better=spec.better,
        unit=spec.unit,
        digits=spec.digits,
        spec=asdict(spec),
        assets=asset_hashes(spec),
        unavailable=unavailable,
    )


def asset_hashes(spec: MetricSpec) -> dict[str, str]:
    """sha256 of the assets that are here, by id."""
    return {name: assets.sha256(name) for name in spec.assets if assets.state(name) == "present"}
