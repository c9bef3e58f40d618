"""What a judge of pose says of a head turned by known degrees, with its sign: degrees said for a degree true.

A metric of pose gives lengths, to which noise never adds zero on average; the angles that it rests on have signs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avatarbench.calibration.frames import Frames
from avatarbench.calibration.plan import Scene, Shot
from avatarbench.errors import Unscorable
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.features import Frame
from avatarbench.metrics.rotations import euler_degrees, nearest_rotation, wrap_degrees
from avatarbench.openheads.cameras import FRONTAL, rig_cameras
from avatarbench.openheads.state import HeadState
from avatarbench.tracking.truth import head_in_camera

Array = NDArray[np.float64]

JUDGES = {"face": "head", "6drepnet360": "rotation"}
"""The feature of an extractor that holds a head's rotation."""

SIGNS = {"face": 1, "6drepnet360": -1}
"""Of an extractor's angles beside ours, pitch down, yaw to the subject's left, roll towards the right shoulder:
6DRepNet360 counts each of the three the other way (its sixdrepnet360/utils.py, ``draw_axis``)."""

METRICS = {
    "apd-mediapipe": "face",
    "apd-mediapipe-geodesic": "face",
    "apd-6drepnet360": "6drepnet360",
    "apd-6drepnet360-geodesic": "6drepnet360",
    "apd-6drepnet360-squared": "6drepnet360",
}
"""The metrics of pose and the extractor that each one trusts."""

_ANGLES = ("pitch", "yaw", "roll")  # the order of euler_degrees


def true_angles(state: HeadState) -> Array:
    """(3,) degrees pitch, yaw, roll of the head before the frontal camera, as the metrics take a rotation apart."""
    return euler_degrees(head_in_camera(state.joints, rig_cameras(1)[FRONTAL]))


def read_turns(extractor: str, scenes: Sequence[Scene], frames: Frames, engine: FeatureEngine) -> dict[str, float]:
    """Degrees said for a degree true by kind of turn; NaN where no scene shows it, kinds without turns left out.

    Negative for a judge that takes a turn for one the other way, its convention (:data:`SIGNS`) allowed for.
    What scoring has read comes from the engine's cache.
    """
    slopes: dict[str, list[float]] = {}
    for scene in scenes:
        turns = [c for c in scene.comparisons if c.kind in _ANGLES]
        said = _said(extractor, [scene.reference, *(c.shot for c in turns)], frames, engine)
        before = true_angles(scene.reference.state)
        for kind in dict.fromkeys(c.kind for c in turns):
            at, angle = [i for i, c in enumerate(turns) if c.kind == kind], _ANGLES.index(kind)
            true = np.array([true_angles(turns[i].shot.state)[angle] - before[angle] for i in at])
            slopes.setdefault(kind, []).append(line(true, wrap_degrees(said[1:][at] - said[0])[:, angle]))
    return {kind: _median(found) for kind, found in slopes.items()}


def line(x: Array, y: Array) -> float:
    """Slope of the least-squares line through the finite points of one scene, NaN for fewer than two.

    The line has an offset, so that the error of the unchanged frame, which all points share, does not tilt it.
    """
    known = np.isfinite(y)
    x, y = x[known], y[known]
    return float((x - x.mean()) @ y / np.square(x - x.mean()).sum()) if len(x) > 1 else float("nan")


def _said(extractor: str, shots: Sequence[Shot], frames: Frames, engine: FeatureEngine) -> Array:
    """(N, 3) degrees pitch, yaw, roll in our signs, NaN where the judge has none."""
    images = [Frame(frames.read(shot)) for shot in shots]
    engine.extract(images, {extractor: False})
    return np.stack([_angles(image, extractor) for image in images])


def _angles(image: Frame, extractor: str) -> Array:
    try:
        return SIGNS[extractor] * euler_degrees(nearest_rotation(image[extractor][JUDGES[extractor]][:3, :3]))
    except Unscorable:  # no face, or a degenerate matrix: the metric's own values count it with the reason
        return np.full(3, np.nan)


def _median(slopes: Sequence[float]) -> float:
    """Of the finite ones."""
    finite = np.array([slope for slope in slopes if np.isfinite(slope)])
    return float(np.median(finite)) if finite.size else float("nan")
