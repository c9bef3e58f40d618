"""How much worse a mean may become before anybody is told: by metric, in its own unit, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from avatarbench.errors import UsageError
from avatarbench.gate.baseline import EVERY


@dataclass(frozen=True)
class Tolerance:
    """``absolute`` in the metric's unit, ``relative`` of the baseline's mean; the larger of both counts."""

    absolute: float
    relative: float
    why: str

    def of(self, mean: float) -> float:
        return max(self.absolute, self.relative * abs(mean))


_ROUNDING = "a hundred times what thread counts and batch sizes change, a fifth of what a blur of sigma 0.7 px does"
_FACES = "landmarks move by about that much where a few pixels are rounded the other way"
_EMBEDDING = "a few pixels rounded the other way move an embedding by about a tenth of that"
_SET = "a set has one value and no interval: this alone decides, and one frame in a hundred moves the value by as much"

DEFAULTS: dict[str, Tolerance] = {
    "psnr": Tolerance(0.05, 0, "half of the last digit that papers print"),
    "ssim": Tolerance(0.002, 0, "twice the last digit that papers print"),
    "lpips-alex": Tolerance(0.002, 0, _ROUNDING),
    "lpips-vgg": Tolerance(0.002, 0, _ROUNDING),
    "akd-mediapipe": Tolerance(0.05, 0, _FACES),
    "akd-mediapipe-iod": Tolerance(0.0006, 0, _FACES),
    "apd-mediapipe": Tolerance(0.05, 0, _FACES),
    "apd-mediapipe-geodesic": Tolerance(0.08, 0, _FACES),
    "apd-6drepnet360": Tolerance(0.05, 0, _FACES),
    "apd-6drepnet360-geodesic": Tolerance(0.08, 0, _FACES),
    "apd-6drepnet360-squared": Tolerance(0.05, 0.02, _FACES),
    "aed-mediapipe": Tolerance(0.0005, 0, _FACES),
    "csim-dlib": Tolerance(0.002, 0, _EMBEDDING),
    "csim-arcface": Tolerance(0.002, 0, _EMBEDDING),
    "clip": Tolerance(0.002, 0, _EMBEDDING),
    "fid": Tolerance(0.05, 0.01, _SET),
    "kid": Tolerance(0.0005, 0.01, _SET),
    "fd-vgg": Tolerance(0.05, 0.01, _SET),
}


def parse(given: Iterable[str]) -> dict[str, dict[str, float]]:
    """``[METHOD:]METRIC=VALUE`` as ``tolerances`` of a baseline. Raises UsageError for what does not read so."""
    found: dict[str, dict[str, float]] = {}
    for text in given:
        name, _, number = text.rpartition("=")
        method, _, metric = name.rpartition(":")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not metric or not 0 <= value < math.inf:
            raise UsageError(
                f"--tolerance '{text}' is not [METHOD:]METRIC=VALUE with a value of 0 or more, e.g. lpips-vgg=0.005."
            )
        found.setdefault(method or EVERY, {})[metric] = value
    return found


def default(metric: str, digits: int) -> Tolerance:
    """What the gate allows of a metric where the baseline says nothing; a metric of a plugin gets a rule."""
    return DEFAULTS.get(metric) or Tolerance(
        10.0**-digits, 0.005, "no default for this metric: one unit of its last printed digit, or 0.5 %"
    )
