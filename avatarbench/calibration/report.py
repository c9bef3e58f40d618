"""What was found, in words: the block beside a metric's definition, the whole page, and the values as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

from avatarbench.calibration.measure import Measured
from avatarbench.calibration.record import CalibrationRecord, Curve, Level, MetricCalibration
from avatarbench.files import writing

FIELDS = ("metric", "change", "level", "amount", "person", "base", "value", "reason")


def block(metric: MetricCalibration, version: int, plot: str) -> str:
    """Markdown of one metric: floor, a line a kind of change, and the figure at ``plot``.

    ``version``: the definition's now; where another was measured, the block says so and shows nothing.
    """
    if metric.unavailable is not None:
        return f"Calibration: not measured ({metric.unavailable})."
    if metric.version != version:
        return f"Calibration: not measured since version {metric.version}; the definition is at version {version}."
    lines = [f"Calibration: {floor_line(metric)}", ""]
    if metric.kind == "set":
        lines += [_set_line(metric), ""]
    said = any(curve.said is not None for curve in metric.curves)
    unit = f", {metric.unit}" if metric.unit else ""
    header = ["change", f"slope{unit} per unit", "saturates", "seen from", f"largest change{unit}"]
    rows = [_row(curve, metric, said) for curve in metric.curves]
    if said:
        header.insert(2, "degrees said per degree")
    lines += [_line(header), _line(["---"] * len(header)), *map(_line, rows), ""]
    lines.append(f"![{metric.id} under controlled changes]({plot})")
    return "\n".join(lines)


def floor_line(metric: MetricCalibration) -> str:
    """Identical image, noise floor, another person."""
    unit = f" {metric.unit}" if metric.unit else ""
    parts = []
    for name, level in (
        ("identical image", metric.identical),
        ("noise floor", metric.floor),
        ("another person", metric.stranger),
    ):
        if level is not None:
            parts.append(f"{name} {_value(level)}{unit if level.n else ''}")
    return f"{'; '.join(parts)}."


def overview(record: CalibrationRecord) -> list[list[str]]:
    """A header and one row a measured metric: floor, another person, and the slope under every kind of change."""
    measured = [metric for metric in record.metrics if metric.unavailable is None]
    curves = measured[0].curves if measured else []
    rows = [["metric", "unit", "floor", "another person", *(f"{c.kind} /{c.unit}" for c in curves)]]
    for metric in measured:
        ends = [_value(level) if level is not None else "" for level in (metric.floor, metric.stranger)]
        rows.append([metric.id, metric.unit, *ends, *(_slope(curve, metric) for curve in metric.curves)])
    return rows


def page(record: CalibrationRecord) -> str:
    """The whole result as Markdown, plots beside it under ``plots/``."""
    head = "# Calibration of the metrics\n\n" + settings(record) + "\n"
    sections = (f"\n## {m.id}\n\n{block(m, m.version, f'plots/{m.id}.png')}\n" for m in record.metrics)
    return head + "".join(sections)


def settings(record: CalibrationRecord) -> str:
    """One paragraph: what was rendered."""
    return (
        f"{record.scenes} scenes: {record.identities} of the people of OpenHeads' test stream (seed {record.seed}) in "
        f"{len(record.bases)} states ({', '.join(record.bases)}), frontal camera, {record.size} x {record.size} px, "
        f"{record.samples} samples a pixel, {record.frames} rendered frames; "
        f"avatarbench {record.environment.packages.get('avatarbench', '?')}, {record.created:%Y-%m-%d}."
    )


def write_values(measured: Mapping[str, Measured], path: Path) -> None:
    """Every value as one row of a CSV file, atomically."""
    stream = io.StringIO()
    out = csv.writer(stream, lineterminator="\n")
    out.writerow(FIELDS)
    for metric, found in measured.items():
        for v in found.values:
            scene = ("", "") if v.scene is None else (v.scene.person, v.scene.base)
            value = repr(v.value) if math.isfinite(v.value) else ""
            out.writerow((metric, v.change[0], f"{v.change[1]:g}", f"{v.amount:g}", *scene, value, v.reason or ""))
    with writing(path) as temporary:
        temporary.write_text(stream.getvalue(), encoding="utf-8")


def _row(curve: Curve, metric: MetricCalibration, said: bool) -> list[str]:
    last = curve.levels[-1]
    saturates = "no" if curve.saturation is None else f"after {curve.saturation:g}"
    if curve.detection is not None:
        seen = f"{curve.detection:g}"
    else:
        seen, saturates = "not seen" if _has_floor(metric) else "unknown", "-"
    cells = [f"{curve.title} ({curve.unit})", _slope(curve, metric), saturates, seen, f"{last.level:g}: {_value(last)}"]
    if said:
        cells.insert(2, "" if curve.said is None else f"{curve.said:.2f}")
    return cells


def _slope(curve: Curve, metric: MetricCalibration) -> str:
    """The slope, or a dash where all of the curve lies within the noise of the rendering."""
    return "-" if curve.detection is None and _has_floor(metric) else _number(curve.slope)


def _has_floor(metric: MetricCalibration) -> bool:
    return metric.floor is not None and math.isfinite(metric.floor.sd)


def _set_line(metric: MetricCalibration) -> str:
    text = f"N = {metric.frames} frames a side, {metric.features or '?'} features; the floor's SD is a jackknife's."
    if metric.few_frames:
        text += (
            " N is too small for a value: with fewer frames than features it depends on N, and both sides show the "
            "same scenes. Read the order and the trend, and compare with no table."
        )
    return text


def _value(level: Level) -> str:
    text = _number(level.mean) if level.n else f"no value ({level.reason})"
    if level.n and level.sd > 1e-6 * abs(level.mean):  # neither NaN nor rounding
        text += f" ± {_number(level.sd)}"
    return text + (f" ({level.n} of {level.n_total})" if 0 < level.n < level.n_total else "")


def _number(value: float) -> str:
    """Three significant digits without an exponent where that is readable."""
    if not math.isfinite(value):
        return "unknown"
    if value == 0:
        return "0"
    return f"{value:.3g}" if 1e-4 <= abs(value) < 1000 else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1e}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
