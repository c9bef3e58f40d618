"""One figure a metric: what it says of every kind of change, over the noise floor."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from avatarbench.calibration.record import CalibrationRecord, Curve, MetricCalibration
from avatarbench.files import writing

COLUMNS = 3
_SIZE = (9.0, 7.2)  # inches at _DPI: 720 x 576 pixels
_DPI = 80
_COLOURS = 48  # of the palette: flat lines and text need no more, and the file shrinks to a third
_LINE, _FLOOR, _STRANGER = "#1f4e79", "#9a9a9a", "#b5482a"


def plot(metric: MetricCalibration, record: CalibrationRecord, path: Path) -> None:
    """Write the figure of a measured metric as a PNG, atomically. The same record gives the same pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    rows = math.ceil(len(metric.curves) / COLUMNS)
    figure = Figure(figsize=(_SIZE[0], _SIZE[1] * (rows + 0.4) / 3.4), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(rows, COLUMNS, squeeze=False, sharey="row")
    for curve, panel in zip(metric.curves, axes.flat, strict=False):
        _panel(panel, metric, curve)
    for panel in axes.flat[len(metric.curves) :]:
        panel.set_visible(False)
    for row in axes:
        row[0].set_ylabel(f"{metric.name}, {metric.unit}" if metric.unit else metric.name)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
    scenes = f"{record.scenes} scenes, people: {record.identities}, {record.size} px"
    figure.suptitle(f"{metric.id}: {scenes}, {metric.better} is better", fontsize=10)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())
    stream = io.BytesIO()
    picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    with writing(path) as temporary:
        temporary.write_bytes(stream.getbuffer())


def _panel(panel: Any, metric: MetricCalibration, curve: Curve) -> None:
    known = [level for level in curve.levels if math.isfinite(level.mean)]
    points = [(level.level, level.mean, level.sd) for level in known]
    if math.isfinite(curve.zero):
        points.insert(0, (0.0, curve.zero, math.nan))
    x, mean, sd = (
        (np.array(column, np.float64) for column in zip(*points, strict=True)) if points else [np.zeros(0)] * 3
    )
    spread = np.nan_to_num(sd)
    panel.set_title(curve.title, fontsize=9)
    panel.set_xlabel(curve.unit, fontsize=8)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.25, linewidth=0.5)
    _references(panel, metric)
    lost = [level.level for level in curve.levels if not math.isfinite(level.mean)]
    if lost:
        panel.plot(lost, [0.06] * len(lost), "kx", markersize=6, transform=panel.get_xaxis_transform())
    panel.fill_between(x, mean - spread, mean + spread, color=_LINE, alpha=0.18, linewidth=0, label="SD over scenes")
    panel.plot(x, mean, "o-", color=_LINE, markersize=3.5, linewidth=1.4, label="mean")


def _references(panel: Any, metric: MetricCalibration) -> None:
    """The noise floor as a band of two standard deviations, and another person as a line."""
    floor, stranger = metric.floor, metric.stranger
    if floor is not None and math.isfinite(floor.mean):
        width = 2 * floor.sd if math.isfinite(floor.sd) else 0.0
        panel.axhspan(
            floor.mean - width, floor.mean + width, color=_FLOOR, alpha=0.3, linewidth=0, label="floor ± 2 SD"
        )
        panel.axhline(floor.mean, color=_FLOOR, linewidth=0.8)
    if stranger is not None and math.isfinite(stranger.mean):
        panel.axhline(stranger.mean, color=_STRANGER, linewidth=0.9, linestyle="--", label="another person")
