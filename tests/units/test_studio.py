"""The studio's pictures: reproducible, on pure white, where the camera says, and readable by a face tracker."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from avatarbench.errors import UsageError
from avatarbench.method import Camera
from avatarbench.metrics.face import ARKIT_NAMES, FaceTrack, track
from avatarbench.openheads.cameras import FRONTAL, SERIALS, rig_cameras
from avatarbench.openheads.identity import draw
from avatarbench.openheads.names import INDEX, sides
from avatarbench.openheads.state import HeadState
from avatarbench.openheads.studio import Studio

drjit = pytest.importorskip("drjit")


@cache
def bald() -> Studio:
    identity = draw(1, 2)
    return Studio(replace(identity, hair=replace(identity.hair, style="bald", beard="none", beard_length=0.0)))


def state(**actions: float) -> HeadState:
    found = HeadState.neutral()
    for name, value in actions.items():
        for side in sides(name):
            found.expression[INDEX[side]] = value
    return found


def projected(studio: Studio, camera: Camera, of: HeadState) -> np.ndarray:
    points = studio.pose(of).vertices[0].double().numpy()
    seen = camera.K @ (camera.world_to_camera[:3, :3] @ points.T + camera.world_to_camera[:3, 3:])
    return (seen[:2] / seen[2]).T


def test_a_picture_is_the_same_again_and_with_any_number_of_threads() -> None:
    camera = rig_cameras(32)[FRONTAL]
    first = bald().render(state(jawOpen=0.3), camera, samples=8)
    bald().render(state(), camera, samples=8)
    threads = drjit.thread_count()
    drjit.set_thread_count(3 if threads == 1 else 1)
    again = bald().render(state(jawOpen=0.3), camera, samples=8)
    drjit.set_thread_count(threads)
    assert np.array_equal(first.rgb, again.rgb)
    assert np.array_equal(first.mask, again.mask)
    other = bald().render(state(jawOpen=0.3), camera, samples=8, seed=1)
    assert not np.array_equal(first.rgb, other.rgb)


def test_the_mask_is_one_on_the_face_and_the_backdrop_pure_white() -> None:
    camera = rig_cameras(48)[FRONTAL]
    picture = bald().render(state(), camera, samples=8)
    nose = projected(bald(), camera, state())[bald().pose(state()).vertices[0, :, 1].argmin()].astype(int)
    assert picture.mask[nose[1] - 4 : nose[1] + 5, nose[0] - 4 : nose[0] + 5].min() == 1
    assert (picture.mask[:3] == 0).all()
    assert picture.mask.dtype == np.float32
    assert picture.rgb.dtype == np.uint8
    assert (picture.rgb[picture.mask == 0] == 255).all()
    assert picture.rgb[picture.mask == 1].mean() < 230


@pytest.mark.parametrize(("serial", "shift"), [(FRONTAL, (0.0, 0.0)), (SERIALS[12], (17.0, 9.0))])
def test_points_are_where_the_camera_says(serial: str, shift: tuple[float, float]) -> None:
    camera = rig_cameras(128)[serial]
    K = camera.K.copy()
    K[:2, 2] += shift
    camera = Camera(K, camera.world_to_camera, 128, 112)
    turned = state()
    turned.joints[4] = [0.1, 0.0, 0.3]
    turned = HeadState(turned.expression, turned.joints, np.array([0.01, 0.0, -0.005], np.float32))
    mask = bald().render(turned, camera, samples=16).mask > 0.5
    points = projected(bald(), camera, turned)
    crown, eyes = points[:, 1].min(), points[:, 1].min() + 50  # rows above the shoulders
    above = points[points[:, 1] < eyes]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask[: int(eyes)].any(0))
    assert rows[0] == pytest.approx(crown, abs=1.5)
    assert columns[0] == pytest.approx(above[:, 0].min(), abs=1.5)
    assert columns[-1] + 1 == pytest.approx(above[:, 0].max(), abs=1.5)


def test_the_landmarker_finds_the_face_and_reads_actions_in_order() -> None:
    camera = rig_cameras(160)[FRONTAL]
    values = (0.0, 0.45, 0.9)
    for action, read in (("jawOpen", "jawOpen"), ("eyeBlink", "eyeBlinkLeft")):
        faces = track([bald().render(state(**{action: value}), camera, samples=8).rgb for value in values])
        assert all(isinstance(face, FaceTrack) for face in faces)
        scores = [float(face.arkit[ARKIT_NAMES.index(read)]) for face in faces if isinstance(face, FaceTrack)]
        assert scores[0] < scores[1] < scores[2]
        assert scores[2] - scores[0] > 0.3


def test_eyes_teeth_and_shoulders_move_as_they_should() -> None:
    studio = bald()
    still, turned = state(), state()
    turned.joints[4] = [0.0, 0.0, 0.4]
    before = studio.placed(still)
    after, open_mouth = studio.placed(turned), studio.placed(state(jawOpen=1))
    aside = studio.placed(state(eyeLookOutLeft=1))
    low = before["chest"][0][:, 2] < -0.2
    assert np.abs(after["chest"][0][low] - before["chest"][0][low]).max() < 1e-3
    assert np.abs(after["skin"][0] - before["skin"][0]).max() > 0.02
    assert np.abs(open_mouth["upper"][0] - before["upper"][0]).max() < 1e-6
    assert (before["lower"][0] - open_mouth["lower"][0])[:, 2].max() > 0.01
    assert 0.002 < np.abs(aside["left"][0] - before["left"][0]).max() < 0.012
    assert np.abs(aside["right"][0] - before["right"][0]).max() < 1e-4


def test_a_wrong_request_is_refused() -> None:
    camera = rig_cameras(32)[FRONTAL]
    with pytest.raises(UsageError, match="too few"):
        bald().render(state(), camera, samples=2)
    stretched = Camera(camera.K * [[2], [1], [1]], camera.world_to_camera, 32, 32)
    with pytest.raises(UsageError, match="square"):
        bald().render(state(), stretched, samples=4)
    short = HeadState(np.zeros(51, np.float32), np.zeros((8, 3), np.float32), np.zeros(3, np.float32))
    with pytest.raises(UsageError, match="52"):
        bald().render(short, camera)
