"""Average keypoint distance: how far the prediction's facial landmarks lie from the driver's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from avatarbench.errors import Unscorable
from avatarbench.metric import MetricSpec
from avatarbench.metrics.face_pair import both, faces_note

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from avatarbench.metrics.features import Frame

SIDE = 512.0
RIGHT_OUTER_CORNER, LEFT_OUTER_CORNER = 33, 263  # of the subject's eyes

_CITATION = (
    "Siarohin et al., Animating Arbitrary Objects via Deep Motion Transfer, CVPR 2019 (the metric); "
    "Grishchenko et al., Attention Mesh, 2020 (the landmarks)"
)

SPEC = MetricSpec(
    id="akd-mediapipe",
    name="AKD",
    version=1,
    kind="pair",
    better="lower",
    unit="px",
    range=(0.0, math.inf),
    against="driver",
    definition=(
        "Mean over the 478 MediaPipe face landmarks (irises 468-477 included) of the Euclidean distance between "
        "prediction and driver, x and y only, in pixels of an image whose longer side is 512 (coordinates times 512 / "
        "longer side). No alignment: translation, scale and identity all count. Largest face of each image."
    ),
    citation=_CITATION,
    factory="avatarbench.metrics.akd:Akd",
    extractors=("face",),
    assets=("face-landmarker",),
    judge="face-landmarker",
)

SPEC_IOD = MetricSpec(
    id="akd-mediapipe-iod",
    name="AKD/IOD",
    version=1,
    kind="pair",
    better="lower",
    unit="",
    range=(0.0, math.inf),
    against="driver",
    definition=(
        "akd-mediapipe divided by the driver's inter-ocular distance: x and y distance of the outer eye corners, "
        "landmarks 33 and 263, in the same scaled pixels. A ratio without unit."
    ),
    citation=_CITATION,
    factory="avatarbench.metrics.akd:AkdInterOcular",
    extractors=("face",),
    assets=("face-landmarker",),
    judge="face-landmarker",
    digits=4,
)


class Akd:
    """``akd-mediapipe``. Raises Unscorable where an image has no face or the two have different aspect ratios."""

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        ours, theirs = _scaled_landmarks(prediction, reference)
        return float(np.linalg.norm(ours - theirs, axis=1).mean())

    def note(self, prediction: Frame, reference: Frame) -> str | None:
        return faces_note(prediction, reference, "driver")


class AkdInterOcular:
    """``akd-mediapipe-iod``. Raises Unscorable as :class:`Akd` does, and where the driver's eye corners coincide."""

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        ours, theirs = _scaled_landmarks(prediction, reference)
        distance = float(np.linalg.norm(theirs[LEFT_OUTER_CORNER] - theirs[RIGHT_OUTER_CORNER]))
        if distance < 1e-3:
            raise Unscorable("the outer eye corners coincide in the driver")
        return float(np.linalg.norm(ours - theirs, axis=1).mean()) / distance

    def note(self, prediction: Frame, reference: Frame) -> str | None:
        return faces_note(prediction, reference, "driver")


def _scaled_landmarks(prediction: Frame, reference: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two (478, 2) float64 arrays in pixels of images whose longer side is 512."""
    (height, width), (other_height, other_width) = prediction.image.shape[:2], reference.image.shape[:2]
    ours, theirs = both(prediction, reference, "face", "driver")
    if width * other_height != other_width * height:
        raise Unscorable(
            f"the prediction is {width} x {height} and the driver {other_width} x {other_height}: "
            "landmarks compare only where the aspect ratios are equal"
        )
    return (
        ours["landmarks"][:, :2].astype(np.float64) * (SIDE / max(height, width)),
        theirs["landmarks"][:, :2].astype(np.float64) * (SIDE / max(other_height, other_width)),
    )
