"""Degrees that a pose metric says of a head turned by known degrees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_GEODESIC = ("apd-mediapipe-geodesic", "apd-6drepnet360-geodesic")
_MEAN_OF_THREE = ("apd-mediapipe", "apd-6drepnet360")
_SQUARES_OF_THREE = ("apd-6drepnet360-squared",)

POSE_METRICS = frozenset((*_GEODESIC, *_MEAN_OF_THREE, *_SQUARES_OF_THREE))


def degrees_said(metric: str, values: Array) -> Array:
    """The angle that explains ``values`` of a pose metric if the head turned about one axis alone.

    The mean over three Euler angles is then a third of it, the mean square a third of its square. What a judge says of
    the two axes that did not turn is counted in.
    """
    if metric in _MEAN_OF_THREE:
        return 3 * values
    return np.sqrt(3 * values) if metric in _SQUARES_OF_THREE else values
