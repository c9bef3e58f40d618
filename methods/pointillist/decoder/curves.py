"""The picture of a decoder's training: Eq. 6 and its terms against steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avatarbench.files import writing
from avatarbench.methods.pointillist.decoder.loss import Terms
from avatarbench.methods.pointillist.training.curves import smoothed


def plot(lines: list[dict[str, Any]], path: Path) -> None:
    """The loss on the left, its terms without their weights on the right: smoothed while training, and, dashed, on
    held-out people."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [(line["step"], {"loss": line["loss"], **line["terms"]}) for line in lines]
    held = [
        (line["step"], {"loss": line["held_out"]["loss"], **line["held_out"]["terms"]})
        for line in lines
        if "held_out" in line
    ]
    for name in ("loss", *Terms._fields):
        axes = left if name == "loss" else right
        known = [(step, values[name]) for step, values in steps]
        if known:
            (drawn,) = axes.plot(*smoothed(known), label=name, linewidth=1)
            shown = [(step, values[name]) for step, values in held]
            if shown:
                axes.plot(*zip(*shown, strict=True), "--", color=drawn.get_color(), linewidth=1)
    left.set(xlabel="step", title="loss: trained on (solid), held out (dashed)")
    right.set(xlabel="step", title="its terms, without their weights")
    for axes in (left, right):
        if axes.lines:
            axes.legend(fontsize=8)
    with writing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
