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


# Measured by benchmarks/gate.py on 12 frames of OpenHeads, with face-warp: re-runs over thread counts, batch sizes and
# seeds repeat all seven digits that a baseline keeps, on one machine. Room is left for other processors' rounding.
_SHIFT = "a shift by 1 px moves it by more than twice this"
_AKD = "a shift by 1 px moves it by seventeen times this"
_LPIPS = "a blur of sigma 0.7 px moves it by more than ten times this"
_ANGLES = "a swapped colour channel, which turns nothing, misleads the landmarker by three times this"
_SCORES = "a blur of sigma 0.7 px moves it by six times this"
_EMBEDDING = "a blur of sigma 0.7 px moves dlib's by one and a half times this"
_SET = "1 %, ours: a set has one value and no interval, so this alone decides; a blur of sigma 0.7 px doubles FD-VGG"

DEFAULTS: dict[str, Tolerance] = {
    "psnr": Tolerance(0.05, 0, _SHIFT),
    "ssim": Tolerance(0.002, 0, _SHIFT),
    "lpips-alex": Tolerance(0.002, 0, _LPIPS),
    "lpips-vgg": Tolerance(0.002, 0, _LPIPS),
    "akd-mediapipe": Tolerance(0.05, 0, _AKD),
    "akd-mediapipe-iod": Tolerance(0.0006, 0, _AKD),
    "apd-mediapipe": Tolerance(0.05, 0, _ANGLES),
    "apd-mediapipe-geodesic": Tolerance(0.08, 0, _ANGLES),
    "apd-6drepnet360": Tolerance(0.05, 0, _ANGLES),
    "apd-6drepnet360-geodesic": Tolerance(0.08, 0, _ANGLES),
    "apd-6drepnet360-squared": Tolerance(0.05, 0.02, _ANGLES),
    "aed-mediapipe": Tolerance(0.0005, 0, _SCORES),
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
