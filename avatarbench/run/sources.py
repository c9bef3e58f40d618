"""Which frame of a recording is the portrait: a middle one on which a face tracker sees all of the face."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from avatarbench.dataset import Dataset
from avatarbench.errors import DataError, Unscorable
from avatarbench.method import FaceTrack
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.face import ARKIT_NAMES, to_track
from avatarbench.metrics.features import Frame, Missing
from avatarbench.metrics.rotations import euler_degrees, nearest_rotation
from avatarbench.run.draws import shuffled

TURN = 20.0
"""Degrees of yaw and of pitch up to which a face counts as seen from the front."""

BLINK = 0.5
"""The landmarker's score up to which an eye counts as open."""

TRIES = 32
"""Frames that are looked at of one person before it is passed over."""

_BLINKS = [ARKIT_NAMES.index(name) for name in ("eyeBlinkLeft", "eyeBlinkRight")]

Judge = Callable[[NDArray[np.uint8]], FaceTrack | Missing]
"""Reads the face off an (H, W, 3) uint8 picture."""


class FaceJudge:
    """MediaPipe's landmarker as a :data:`Judge`; what it read of a picture is kept in the feature cache."""

    def __init__(self) -> None:
        self._engine = FeatureEngine(["face"], FeatureCache.default())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._engine.close()

    def __call__(self, image: NDArray[np.uint8]) -> FaceTrack | Missing:
        frame = Frame(image)
        self._engine.extract([frame], {"face": False})
        features = frame.get("face")
        if features is None:
            return Missing("the landmarker said nothing")
        return features if isinstance(features, Missing) else to_track(features)


def hidden(face: FaceTrack | Missing, shape: tuple[int, ...]) -> str | None:
    """What of a face a picture of ``shape`` does not show; None where eyes, mouth and outline are seen.

    One face; turned and nodded by at most :data:`TURN` degrees; both eyes open; every landmark inside the picture. The
    landmarker guesses what is behind a hand, so that a hand is not told by this rule.
    """
    if isinstance(face, Missing):
        return face.reason
    if face.faces != 1:
        return f"{face.faces} faces"
    try:
        pitch, yaw, _ = euler_degrees(nearest_rotation(face.head[:3, :3]))
    except Unscorable as error:
        return str(error)
    if max(abs(pitch), abs(yaw)) > TURN:
        return f"the head is turned (yaw {yaw:.0f}, pitch {pitch:.0f} degrees)"
    if float(face.arkit[_BLINKS].max()) > BLINK:
        return "an eye is closed"
    height, width = shape[:2]
    points = face.landmarks[:, :2]
    if points.min() < 0 or points[:, 0].max() > width - 1 or points[:, 1].max() > height - 1:
        return "the face leaves the picture"
    return None


def middle_frame(seed: int, dataset: Dataset, sequence: str, judge: Judge) -> int:
    """The first frame of the middle half, in the order that ``seed`` gives, that shows the whole face.

    Raises DataError where none of the first :data:`TRIES` does, with what the last lacked.
    """
    count = dataset.length(sequence)
    half = range(count // 4, max(count - count // 4, count // 4 + 1))
    why = "it has no frames"
    for index in shuffled(seed, sequence, half)[:TRIES]:
        try:
            image = dataset.read(sequence, index)
        except DataError as error:  # the next one may be whole
            why = str(error)
            continue
        lacking = hidden(judge(image), image.shape)
        if lacking is None:
            return index
        why = f"frame {index}: {lacking}"
    raise DataError(f"no frame of the middle of '{sequence}' shows the whole face ({why})")
