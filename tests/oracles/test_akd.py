"""AKD beside a float64 reimplementation on detections made by MediaPipe directly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from avatarbench import assets
from avatarbench.metrics.akd import Akd, AkdInterOcular
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Frame

TIMES = (0, 20, 40, 60)


@pytest.fixture(scope="module")
def images() -> list[NDArray[np.uint8]]:
    """Four frames of the short clip, 360 x 640."""
    with av.open(str(assets.pull("driving-clip-short"))) as clip:
        frames = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in clip.decode(video=0)]
    return [frames[i] for i in TIMES]


@pytest.fixture(scope="module")
def frames(images: list[NDArray[np.uint8]]) -> list[Frame]:
    assets.pull("face-landmarker")
    made = [Frame(image) for image in images]
    extractor = FaceLandmarker()
    for frame, features in zip(made, extractor.extract(made), strict=True):
        frame.put("face", features)
    extractor.close()
    return made


@pytest.fixture(scope="module")
def detections(images: list[NDArray[np.uint8]]) -> Iterator[list[Any]]:
    """The same frames by a landmarker of one face, opened here."""
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python import BaseOptions
    from mediapipe.tasks.python.vision import FaceLandmarker as Native
    from mediapipe.tasks.python.vision import FaceLandmarkerOptions

    base = BaseOptions(model_asset_path=str(assets.pull("face-landmarker")))
    with Native.create_from_options(FaceLandmarkerOptions(base_options=base)) as native:
        yield [native.detect(Image(image_format=ImageFormat.SRGB, data=image)).face_landmarks[0] for image in images]


@pytest.mark.parametrize("other", [1, 2, 3])
def test_akd_agrees_with_a_plain_loop_over_the_landmarks(
    frames: list[Frame], detections: list[Any], other: int
) -> None:
    width, height, scale = 640.0, 360.0, 512 / 640
    distances = []
    for p, q in zip(detections[0], detections[other], strict=True):
        distances.append(scale * (((p.x - q.x) * width) ** 2 + ((p.y - q.y) * height) ** 2) ** 0.5)
    expected = sum(distances) / 478
    assert expected > 0.5
    assert Akd()(frames[0], frames[other]) == pytest.approx(expected, rel=1e-5)

    left, right = detections[other][263], detections[other][33]
    eyes = scale * (((left.x - right.x) * width) ** 2 + ((left.y - right.y) * height) ** 2) ** 0.5
    assert AkdInterOcular()(frames[0], frames[other]) == pytest.approx(expected / eyes, rel=1e-5)


def test_an_image_against_itself_is_zero_and_a_moved_picture_is_its_shift(frames: list[Frame]) -> None:
    assert Akd()(frames[0], frames[0]) == 0
    moved = Frame(np.roll(frames[0].image, 10, axis=1))
    extractor = FaceLandmarker()
    moved.put("face", extractor.extract([moved])[0])
    extractor.close()
    assert Akd()(moved, frames[0]) == pytest.approx(10 * 512 / 640, abs=0.5)
