"""Average expression distance: how far the prediction's blendshape scores lie from the driver's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from avatarbench.metric import MetricSpec
from avatarbench.metrics.face_pair import both, faces_note

if TYPE_CHECKING:
    from avatarbench.metrics.features import Frame

SPEC = MetricSpec(
    id="aed-mediapipe",
    name="AED",
    version=1,
    kind="pair",
    better="lower",
    unit="",
    range=(0.0, 1.0),
    against="driver",
    definition=(
        "Mean absolute difference of the 52 blendshape scores of MediaPipe's face landmarker between prediction and "
        "driver. All 52 outputs count, the first, `_neutral`, included (it is almost always near 0, so the mean is "
        "about 51/52 of the mean over the 51 facial actions). Largest face of each image."
    ),
    citation=(
        "Siarohin et al., First Order Motion Model for Image Animation, NeurIPS 2019 (distances between features of "
        "faces); Lugaresi et al., MediaPipe, 2019 (the scores)"
    ),
    factory="avatarbench.metrics.aed:Aed",
    extractors=("face",),
    assets=("face-landmarker",),
    judge="face-landmarker",
    digits=4,
)


class Aed:
    """``aed-mediapipe``. Raises Unscorable where an image has no face."""

    def __call__(self, prediction: Frame, reference: Frame) -> float:
        ours, theirs = both(prediction, reference, "face", "driver")
        return float(np.abs(ours["arkit"].astype(np.float64) - theirs["arkit"]).mean())

    def note(self, prediction: Frame, reference: Frame) -> str | None:
        return faces_note(prediction, reference, "driver")
