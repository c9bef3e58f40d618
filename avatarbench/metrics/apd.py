"""Average pose distance: how far the prediction's head is turned from the driver's, by two independent judges."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from avatarbench.metric import MetricSpec
from avatarbench.metrics.face_pair import both, faces_note
from avatarbench.metrics.rotations import euler_degrees, geodesic_degrees, nearest_rotation, wrap_degrees

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from avatarbench.metrics.features import Frame

_EULER = (
    "of pitch, yaw and roll in degrees, from R = Rz(roll) Ry(yaw) Rx(pitch) (yaw within +-90), each difference "
    "wrapped to [-180, 180), between prediction and driver. "
)
_GEODESIC = "Angle in degrees of the one rotation that takes the driver's head to the prediction's, in [0, 180]. "
_FROM_MATRIX = (
    "R: the rotation nearest (SVD, so scale goes) to the 3x3 part of MediaPipe's head matrix, axes x right, y up, z "
    "to the viewer. Largest face of each image."
)
_FROM_NETWORK = (
    "R: the output of 6DRepNet360 (ResNet-50, 6-d representation, Gram-Schmidt), made orthonormal in float64, on the "
    "largest face's box found by MediaPipe's landmarker, widened as 6DRepNet's demo does, 256 px, centre 224."
)
_MEDIAPIPE_CITATION = "Lugaresi et al., MediaPipe: A Framework for Building Perception Pipelines, 2019"
_NETWORK_CITATION = (
    "Hempel et al., Toward Robust and Unconstrained Full Range of Rotation Head Pose Estimation, IEEE TIP 33, 2024"
)

MEDIAPIPE = MetricSpec(
    id="apd-mediapipe",
    name="APD",
    version=1,
    kind="pair",
    better="lower",
    unit="deg",
    range=(0.0, 180.0),
    against="driver",
    definition=f"Mean absolute difference {_EULER}{_FROM_MATRIX}",
    citation=_MEDIAPIPE_CITATION,
    factory="avatarbench.metrics.apd:MediapipeEuler",
    extractors=("face",),
    assets=("face-landmarker",),
    judge="face-landmarker",
)

MEDIAPIPE_GEODESIC = MetricSpec(
    id="apd-mediapipe-geodesic",
    name="APD-geo",
    version=1,
    kind="pair",
    better="lower",
    unit="deg",
    range=(0.0, 180.0),
    against="driver",
    definition=f"{_GEODESIC}{_FROM_MATRIX}",
    citation=_MEDIAPIPE_CITATION,
    factory="avatarbench.metrics.apd:MediapipeGeodesic",
    extractors=("face",),
    assets=("face-landmarker",),
    judge="face-landmarker",
)

SIXDREPNET360 = MetricSpec(
    id="apd-6drepnet360",
    name="APD-6D",
    version=1,
    kind="pair",
    better="lower",
    unit="deg",
    range=(0.0, 180.0),
    against="driver",
    definition=f"Mean absolute difference {_EULER}{_FROM_NETWORK}",
    citation=_NETWORK_CITATION,
    factory="avatarbench.metrics.apd:NetworkEuler",
    extractors=("face", "6drepnet360"),
    assets=("face-landmarker", "6drepnet360"),
    judge="6drepnet360",
)

SIXDREPNET360_GEODESIC = MetricSpec(
    id="apd-6drepnet360-geodesic",
    name="APD-6D-geo",
    version=1,
    kind="pair",
    better="lower",
    unit="deg",
    range=(0.0, 180.0),
    against="driver",
    definition=f"{_GEODESIC}{_FROM_NETWORK}",
    citation=_NETWORK_CITATION,
    factory="avatarbench.metrics.apd:NetworkGeodesic",
    extractors=("face", "6drepnet360"),
    assets=("face-landmarker", "6drepnet360"),
    judge="6drepnet360",
)

SIXDREPNET360_SQUARED = MetricSpec(
    id="apd-6drepnet360-squared",
    name="APD-6D-sq",
    version=1,
    kind="pair",
    better="lower",
    unit="deg^2",
    range=(0.0, 180.0**2),
    against="driver",
    definition=f"Mean squared difference {_EULER}{_FROM_NETWORK}",
    citation=_NETWORK_CITATION,
    factory="avatarbench.metrics.apd:NetworkSquared",
    extractors=("face", "6drepnet360"),
    assets=("face-landmarker", "6drepnet360"),
    judge="6drepnet360",
)


class _PoseDistance(ABC):
    """A distance of two head rotations. Raises Unscorable where an image has no face or a rotation is degenerate."""

    extractor = "face"

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        name = "head" if self.extractor == "face" else "rotation"
        ours, theirs = both(prediction, reference, self.extractor, "driver")
        return self.distance(nearest_rotation(ours[name][:3, :3]), nearest_rotation(theirs[name][:3, :3]))

    @abstractmethod
    def distance(self, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
        """Of two (3, 3) rotations."""

    def note(self, prediction: Frame, reference: Frame) -> str | None:
        return faces_note(prediction, reference, "driver")


class MediapipeEuler(_PoseDistance):
    """``apd-mediapipe``."""

    def distance(self, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
        return float(np.abs(_differences(ours, theirs)).mean())


class MediapipeGeodesic(_PoseDistance):
    """``apd-mediapipe-geodesic``."""

    def distance(self, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
        return geodesic_degrees(ours, theirs)


class NetworkEuler(MediapipeEuler):
    """``apd-6drepnet360``."""

    extractor = "6drepnet360"


class NetworkGeodesic(MediapipeGeodesic):
    """``apd-6drepnet360-geodesic``."""

    extractor = "6drepnet360"


class NetworkSquared(_PoseDistance):
    """``apd-6drepnet360-squared``."""

    extractor = "6drepnet360"

    def distance(self, ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
        return float(np.square(_differences(ours, theirs)).mean())


def _differences(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) degrees: pitch, yaw, roll of one against the other's."""
    return wrap_degrees(euler_degrees(ours) - euler_degrees(theirs))
