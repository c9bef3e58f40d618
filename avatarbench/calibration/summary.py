"""From the values of one metric to its record: floor, curves, fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from avatarbench.calibration.changes import KINDS, Kind
from avatarbench.calibration.curves import detection, saturation, slope
from avatarbench.calibration.measure import Measured, Value
from avatarbench.calibration.plan import IDENTICAL, NOISE, NOISE_SEEDS, STRANGER
from avatarbench.calibration.record import Curve, Level, MetricCalibration, significant
from avatarbench.metric import MetricSpec

Array = NDArray[np.float64]

CAPPED = frozenset({"psnr"})
"""Infinite for identical images, which a cap hides: their value without any change is no point of a curve."""


def unmeasured(spec: MetricSpec, why: str) -> MetricCalibration:
    """The record of a metric that could not run."""
    return _record(spec, unavailable=why)


def summarise(
    spec: MetricSpec, measured: Measured, kinds: Sequence[Kind] = KINDS, turns: Mapping[str, float] | None = None
) -> MetricCalibration:
    """All that the values of one metric say; ``turns``: for a pose metric, its judge's degrees said for a degree."""
    scenes = _scenes(measured)
    noise = [value for seed in NOISE_SEEDS for value in measured.of((NOISE, seed))]
    floor = _level(0.0, noise)
    if spec.kind == "set":
        floor.sd = significant(measured.floor_error)
    found = _record(spec)
    found.identical = _level(0.0, measured.of((IDENTICAL, 0.0)))
    found.floor = floor
    found.stranger = _level(0.0, measured.of((STRANGER, 0.0)))
    found.frames, found.features = measured.frames, measured.features
    same = _column(measured.of((IDENTICAL, 0.0)), scenes)
    again = _mean([_column(measured.of((NOISE, seed)), scenes) for seed in NOISE_SEEDS])
    for kind in kinds:
        zero = again if kind.group != "image" else None if spec.id in CAPPED else same
        found.curves.append(_curve(spec, kind, measured, scenes, zero, floor, turns or {}))
    return found


def _curve(
    spec: MetricSpec,
    kind: Kind,
    measured: Measured,
    scenes: list[object],
    zero: Array | None,
    floor: Level,
    turns: Mapping[str, float],
) -> Curve:
    levels = [_level(level, measured.of((kind.id, level))) for level in kind.levels]
    values = np.stack([_column(measured.of((kind.id, level)), scenes) for level in kind.levels], axis=1)
    means = np.array([level.mean for level in levels])
    at_zero = None if zero is None else float(_mean([zero[:, None]], axis=None))
    detected = detection(kind.levels, means, floor.mean, floor.sd, spec.better)
    return Curve(
        kind=kind.id,
        title=kind.title,
        group=kind.group,
        unit=kind.unit,
        zero=significant(float("nan") if at_zero is None else at_zero),
        levels=levels,
        slope=significant(slope(kind.levels, values, zero, None if kind.group == "image" else detected), 4),
        saturation=None if detected is None else saturation(kind.levels, means, at_zero, spec.better),
        detection=detected,
        said=None if kind.id not in turns else significant(turns[kind.id], 4),
    )


def _level(level: float, values: list[Value]) -> Level:
    found = np.array([value.value for value in values if np.isfinite(value.value)])
    reasons = Counter(value.reason for value in values if value.reason is not None)
    return Level(
        level=level,
        mean=significant(float(found.mean()) if found.size else float("nan")),
        sd=significant(float(found.std(ddof=1)) if found.size > 1 else float("nan")),
        n=len(found),
        n_total=len(values),
        reason=reasons.most_common(1)[0][0] if reasons else None,
    )


def _scenes(measured: Measured) -> list[object]:
    """The scenes in order; for a set metric its one whole, None."""
    return list(dict.fromkeys(_key(value) for value in measured.values))


def _key(value: Value) -> object:
    return None if value.scene is None else (value.scene.person, value.scene.base)


def _column(values: list[Value], scenes: list[object]) -> Array:
    """(S,) values by scene, NaN where a scene has none."""
    by_scene = {_key(value): value.value for value in values}
    return np.array([by_scene.get(scene, np.nan) for scene in scenes])


def _mean(columns: list[Array], axis: int | None = 0) -> Array:
    """Mean over the finite values; NaN, and no warning, where there is none."""
    stacked = np.stack(columns)
    known = np.isfinite(stacked)
    counts = known.sum(axis=axis)
    total = np.where(known, stacked, 0.0).sum(axis=axis)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def _record(spec: MetricSpec, unavailable: str | None = None) -> MetricCalibration:
    return MetricCalibration(
        id=spec.id,
        name=spec.name,
        version=spec.version,
        kind=spec.kind,
        better=spec.better,
        unit=spec.unit,
        unavailable=unavailable,
    )
