"""APD beside scipy's rotations, on MediaPipe's head matrices of real frames and on pictures that are really turned."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
import pytest
from PIL import Image
from scipy.linalg import polar
from scipy.spatial.transform import Rotation
from skimage.data import astronaut

from avatarbench import assets
from avatarbench.metrics.apd import MediapipeEuler, MediapipeGeodesic
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Frame


@pytest.fixture(scope="module")
def landmarker() -> Iterator[FaceLandmarker]:
    assets.pull("face-landmarker")
    extractor = FaceLandmarker()
    yield extractor
    extractor.close()


def read(landmarker: FaceLandmarker, frames: list[Frame]) -> list[Frame]:
    for frame, features in zip(frames, landmarker.extract(frames), strict=True):
        frame.put("face", features)
    return frames


def test_both_distances_agree_with_scipy_on_real_head_matrices(landmarker: FaceLandmarker) -> None:
    with av.open(str(assets.pull("driving-clip-short"))) as clip:
        images = [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in clip.decode(video=0)][::24]
    frames = read(landmarker, [Frame(image) for image in images])
    heads = [polar(frame["face"]["head"][:3, :3].astype(np.float64))[0] for frame in frames]
    rotations = [Rotation.from_matrix(head) for head in heads]
    for i, j in ((0, 1), (1, 2), (0, 2)):
        angle = np.degrees((rotations[i].inv() * rotations[j]).magnitude())
        assert angle > 0.1
        assert MediapipeGeodesic()(frames[i], frames[j]) == pytest.approx(angle, abs=1e-9)
        euler = rotations[i].as_euler("xyz", degrees=True) - rotations[j].as_euler("xyz", degrees=True)
        wrapped = np.abs(euler - 360 * np.round(euler / 360))
        assert MediapipeEuler()(frames[i], frames[j]) == pytest.approx(wrapped.mean(), abs=1e-9)


@pytest.mark.parametrize("degrees", [-15, 5, 15])
def test_a_picture_turned_in_its_plane_is_a_head_rolled_by_as_much(landmarker: FaceLandmarker, degrees: int) -> None:
    upright = Image.fromarray(astronaut()[0:224, 112:336])
    turned = upright.rotate(degrees, Image.Resampling.BICUBIC)
    a, b = read(landmarker, [Frame(np.asarray(upright)), Frame(np.asarray(turned))])
    assert MediapipeGeodesic()(b, a) == pytest.approx(abs(degrees), abs=2.5)
    assert MediapipeEuler()(b, a) >= abs(degrees) / 3 - 1.0
