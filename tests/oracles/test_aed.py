"""AED beside a plain loop over the blendshapes of MediaPipe's own result."""

from __future__ import annotations

import av
import numpy as np
import pytest

from avatarbench import assets
from avatarbench.metrics.aed import Aed
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Frame


def test_aed_agrees_with_blendshapes_matched_by_name() -> None:
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import FaceLandmarker as Native
    from mediapipe.tasks.python.vision import FaceLandmarkerOptions

    model = assets.pull("face-landmarker")
    with av.open(str(assets.pull("driving-clip-short"))) as clip:
        images = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in clip.decode(video=0)][::24]
    frames = [Frame(image) for image in images]
    extractor = FaceLandmarker()
    for frame, features in zip(frames, extractor.extract(frames), strict=True):
        frame.put("face", features)
    extractor.close()

    options = FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(model)), output_face_blendshapes=True)
    with Native.create_from_options(options) as native:
        found = [native.detect(Image(image_format=ImageFormat.SRGB, data=image)) for image in images]
    scores = [{c.category_name: c.score for c in result.face_blendshapes[0]} for result in found]

    assert len(frames) == 3
    for i, j in ((0, 1), (1, 2), (0, 2)):
        expected = sum(abs(scores[i][name] - scores[j][name]) for name in scores[i]) / 52
        assert expected > 1e-3
        assert Aed()(frames[i], frames[j]) == pytest.approx(expected, rel=1e-6)
    assert Aed()(frames[0], frames[0]) == 0
