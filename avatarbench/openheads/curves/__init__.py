"""Recorded motion: what the face landmarker reads off a real driving clip, kept as a small file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from avatarbench.metrics.face import ARKIT_NAMES
from avatarbench.openheads.names import EXPRESSIONS

FILE = "driving-clip.npz"
SCORE_STEP = 1 / 255
ANGLE_STEP = 1e-4
"""Radians of one step of the stored rotation vectors."""

_SMOOTHING = 1.0  # frames: below a blink, above the landmarker's jitter
_AT_REST = {"eyeBlink": 0.12, "eyeLookDown": 0.12}
_GAIN = {"eyeSquint": 0.5, "jawOpen": 1.6}


@dataclass(frozen=True)
class Recording:
    """``expression`` (T, 52) in [0, 1], in the order of ``EXPRESSIONS``; ``angles`` (T, 3) degrees yaw, pitch, roll
    about the clip's median pose, signs as in :mod:`avatarbench.openheads.sequences`; ``fps`` frames a second."""

    expression: NDArray[np.float64]
    angles: NDArray[np.float64]
    fps: float

    @property
    def seconds(self) -> float:
        return (len(self.expression) - 1) / self.fps

    def at(self, times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Expression (N, 52) and angles (N, 3) at ``times`` (N,) seconds, held at both ends.

        Monotone cubics: the curves stay smooth, and never leave the range of what was recorded.
        """
        from scipy.interpolate import PchipInterpolator

        knots = np.arange(len(self.expression)) / self.fps
        both = np.concatenate([self.expression, self.angles], axis=1)
        found = PchipInterpolator(knots, both)(np.clip(times, 0, self.seconds))
        return found[:, : len(EXPRESSIONS)], found[:, len(EXPRESSIONS) :]


@cache
def recording() -> Recording:
    """The driving clip's motion, lightly smoothed.

    The landmarker reports a little of some actions in a face at rest, and too little of an open jaw: the former is
    taken off, the latter raised. Source: ``python -m avatarbench.openheads.curves.record``.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.spatial.transform import Rotation

    with as_file(files(__package__) / FILE) as path, np.load(path, allow_pickle=False) as stored:
        scores = stored["arkit"].astype(np.float64) * SCORE_STEP
        vectors = stored["rotation"].astype(np.float64) * ANGLE_STEP
        fps = float(stored["fps"])
    scores = gaussian_filter1d(scores, _SMOOTHING, axis=0, mode="nearest")
    expression = np.zeros((len(scores), len(EXPRESSIONS)))
    for column, name in enumerate(EXPRESSIONS[:-1]):  # the landmarker sees no tongue
        stem = name.removesuffix("Left").removesuffix("Right")
        above = _positive(scores[:, ARKIT_NAMES.index(name)] - _AT_REST.get(stem, 0.0))
        expression[:, column] = np.clip(above * _GAIN.get(stem, 1.0), 0, 1)
    # The median pose is the camera's doing; the head's own rest stands at zero.
    pose = Rotation.from_rotvec(vectors)
    centred = Rotation.from_rotvec(np.median(vectors, axis=0)).inv() * pose
    angles = centred.as_euler("ZXY", degrees=True)
    return Recording(expression, gaussian_filter1d(angles, _SMOOTHING, axis=0, mode="nearest"), fps)


def _positive(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``max(values, 0)`` without the kink: x^2 / (x + 0.02) above zero."""
    above = np.maximum(values, 0)
    return above**2 / (above + 0.02)
