"""From specs to the entries of ``run.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from avatarbench import assets, registry
from avatarbench.capability import granted
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


def describe_method(spec: MethodSpec, options: dict[str, Any], found: Preflight) -> MethodRecord:
    reads = granted(spec, found.protocol, found.absent).needs
    drivers = {spec.tracker, TRACKER if "mediapipe" in reads else None} - {None}
    families = {registry.dataset(name).family or name for name in found.protocol.datasets}
    return MethodRecord(
        id=spec.id,
        name=spec.name,
        role=spec.role,
        spec=asdict(spec),
        options=options,
        unavailable=found.without_methods.get(spec.id),
        reads=list(reads),
        tracker_is_judge=[m.id for m in found.runnable_metrics if m.judge in drivers],
        in_domain=bool(families & set(spec.trained_on)),
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
