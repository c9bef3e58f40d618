"""Writes docs/metrics.md from the registered specs and docs/calibration: ``python docs/make_metrics.py``.

With the folder of a calibration, ``python docs/make_metrics.py calibration``, its record and plots become the ones that
docs/calibration keeps. A test keeps the page true.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from avatarbench import registry
from avatarbench.calibration.record import FILE_NAME, CalibrationRecord
from avatarbench.calibration.report import block, settings
from avatarbench.metric import MetricSpec

PAGE = Path(__file__).with_name("metrics.md")
CALIBRATION = Path(__file__).with_name("calibration")

HEAD = """# Metrics

Written by `python docs/make_metrics.py` from the specs that the code runs by; `avatarbench show NAME` prints the same
with the state of each weight file. A changed definition takes a new version, and values of different versions never
share a table.

The field has no agreed AKD, AED or APD: landmarkers, reductions and units differ between papers. Ids therefore name the
landmarker or network, and published numbers are never ranked beside ours.
"""

HOW_TO_READ = """
## How to read the calibrations

Below each definition stands what the metric says of changes whose size is known exactly, since the frames are rendered
from OpenHeads by `avatarbench calibrate`. Whatever a metric compares with, target, driver or source, is here the
unchanged frame, and each change is one of its kind alone. "Noise floor" is the value of the same scene rendered under
another sampling seed, mean ± standard deviation over the scenes: on frames as noisy as these, no difference below it
means anything. "Another person", in the same pose and camera, is the other end of the scale. In the plots the line is
the mean, its shade one standard deviation over the scenes, the grey band the floor with two, and a cross at the bottom
a level at which no frame had a value. Turns and expressions start from the floor, changes of pixels from the identical
image (for `psnr`, infinite there, from the first level).

The slope is what a unit of the change adds at the small end: the median of the slopes between all pairs of three points
of every scene, the first three, or where the noise of the rendering hides small changes those from the last hidden one
on; a dash means that it hides them all. "Saturates" names the level after which no rise exceeds a quarter of the
steepest one: past it the metric hardly tells more from less. "Seen from" is the smallest level whose mean is worse than
the floor by two of its standard deviations; a smaller change is not seen in one frame, though a mean over many may show
it. "Degrees said per degree" reads the judge of a pose metric as a protractor: the signed angle that it reports about
the axis that turned, against the true one, over all levels; 1 is true. Compare the rows of a metric to learn what moves
it: a pose metric that a smile moves as far as a turn does says so here, and an identity score that falls as far under a
turn of 10 degrees as under another person.
"""


def page() -> str:
    """The whole page."""
    ours = [name for name in registry.names("metrics") if registry.owner("metrics", name) == "avatarbench"]
    record = CalibrationRecord.load(CALIBRATION / FILE_NAME) if (CALIBRATION / FILE_NAME).exists() else None
    head = HEAD if record is None else f"{HEAD}{HOW_TO_READ}\nMeasured on {settings(record)}\n"
    return head + "".join(section(registry.metric(name)) + calibration(name, record) for name in ours)


def section(spec: MetricSpec) -> str:
    least = f"one value a set, at least {spec.minimum} frames a side"
    facts = {
        "heading": spec.name,
        "version": spec.version,
        "better": spec.better,
        "unit": spec.unit or "none",
        "range": f"{spec.range[0]:g} to {spec.range[1]:g}",
        "kind": "one value a frame" if spec.kind == "pair" else least,
        "against": spec.against,
        "weights": ", ".join(f"`{a}`" for a in spec.assets) or "none",
    }
    rows = " · ".join(f"{name}: {value}" for name, value in facts.items())
    return f"\n## {spec.id}\n\n{rows}\n\n{spec.definition}\n\nSource: {spec.citation}\n"


def calibration(name: str, record: CalibrationRecord | None) -> str:
    """The block of one metric, or nothing where nothing was measured yet."""
    if record is None:
        return ""
    found = next((metric for metric in record.metrics if metric.id == name), None)
    if found is None:
        return "\nCalibration: not measured (the metric is newer than the last calibration).\n"
    return f"\n{block(found, registry.metric(name).version, f'{CALIBRATION.name}/{name}.png')}\n"


def adopt(folder: Path) -> None:
    """Replace docs/calibration by the record and the plots of ``folder``. Raises DataError where it holds no record."""
    record = CalibrationRecord.load(folder / FILE_NAME)
    plots = [folder / "plots" / f"{metric.id}.png" for metric in record.metrics if metric.unavailable is None]
    CALIBRATION.mkdir(exist_ok=True)
    for old in CALIBRATION.glob("*.png"):
        old.unlink()
    for path in (folder / FILE_NAME, *plots):
        shutil.copyfile(path, CALIBRATION / path.name)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        adopt(Path(sys.argv[1]))
    PAGE.write_text(page(), encoding="utf-8")
