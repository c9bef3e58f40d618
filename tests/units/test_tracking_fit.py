"""Fitting Anny's head to landmarks: the model is the rig's, the derivative is right, known heads are found again."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from skimage.data import astronaut

from avatarbench.errors import DataError
from avatarbench.method import Camera, FaceTrack
from avatarbench.metrics.face import ARKIT_NAMES, track
from avatarbench.metrics.rotations import geodesic_degrees
from avatarbench.tracking.anny_file import fit_track, portrait_frame
from avatarbench.tracking.anny_fit import (
    MEDIAPIPE,
    AnnyFit,
    _Problem,
    expression_of,
    fit_motion,
    fit_portrait,
    front_camera,
    world_rotation,
)
from avatarbench.tracking.correspondence import load_correspondence
from avatarbench.tracking.face_model import HEAD, face_model
from avatarbench.tracking.identities import draw_shapes
from avatarbench.tracking.landmarks import track_frames
from tests.e2e.media import NO_FACE, moving_face

SIZE = (640, 480)
TURN = np.radians([8.0, -4.0, 22.0])


@cache
def portrait() -> FaceTrack:
    (face,) = track([astronaut()])
    assert isinstance(face, FaceTrack)
    return face


def known_camera() -> Camera:
    camera = front_camera(SIZE, 900.0)
    pose = camera.world_to_camera.copy()
    pose[:3, 3] = 0.02, 0.03, 1.1
    return replace(camera, world_to_camera=pose)


def known_face(z: np.ndarray, expression: dict[str, float], camera: Camera, off_by: float = 0.0) -> FaceTrack:
    """Exact landmarks of a head with the rotation ``TURN``; the head matrix is wrong by some degrees of yaw."""
    model = face_model()
    values = np.array([expression.get(name, 0.0) for name in model.rig.expression_names])
    world = model.points(z, values, TURN, np.zeros(3))
    seen = world @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[model.landmarks, :2] = (seen @ camera.K.T)[:, :2] / seen[:, 2:]
    head = np.eye(4, dtype=np.float32)
    wrong = Rotation.from_euler("z", off_by, degrees=True) * Rotation.from_rotvec(TURN)
    head[:3, :3] = np.diag([1, -1, -1]) @ camera.world_to_camera[:3, :3] @ wrong.as_matrix() @ MEDIAPIPE.T
    arkit = np.array([expression.get(name, 0.0) for name in ARKIT_NAMES], np.float32)
    return FaceTrack(landmarks, arkit, head)


def turned(fit: AnnyFit) -> np.ndarray:
    return Rotation.from_rotvec(fit.joints[face_model().rig.joint_names.index(HEAD)]).as_matrix()


def test_the_model_gives_the_points_of_the_rig() -> None:
    model, found = face_model(), load_correspondence()
    rng = np.random.default_rng(1)
    z, expression, place = rng.normal(size=40), rng.random(52), np.array([0.1, -0.2, 0.3])
    shape = torch.from_numpy(model.basis.mean + model.basis.directions @ z)[None]
    rig = model.rig.double()
    rotations = rig.rotations({HEAD: torch.from_numpy(TURN)})
    posed = rig(shape, torch.from_numpy(expression)[None], rotations, torch.from_numpy(place)[None])
    model.rig.float()
    corners = posed.vertices[0].numpy()[rig.faces.numpy()[found.faces]]
    expected = np.einsum("nk,nkc->nc", found.barycentrics, corners)
    np.testing.assert_allclose(model.points(z, expression, TURN, place), expected, atol=1e-8)


@pytest.mark.parametrize("turn", [TURN, np.zeros(3), np.array([1e-6, 0, 0])])
def test_the_jacobian_is_that_of_central_differences(turn: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    problem = _Problem(face_model(), portrait(), front_camera((512, 512), 900.0))
    unknown = problem.start()
    unknown[1:4] = turn
    unknown[7:] += 0.1 * rng.normal(size=len(unknown) - 7)
    jacobian = problem.jacobian(unknown)
    for column in range(len(unknown)):
        step = np.zeros_like(unknown)
        step[column] = 1e-6
        numeric = (problem.residuals(unknown + step) - problem.residuals(unknown - step)) / 2e-6
        np.testing.assert_allclose(jacobian[:, column], numeric, rtol=1e-4, atol=1e-4, err_msg=str(column))


def test_a_head_is_found_again_under_its_known_camera() -> None:
    z = 0.5 * np.random.default_rng(3).normal(size=40)
    camera = known_camera()
    fit = fit_portrait(known_face(z, {"jawOpen": 0.4, "mouthSmileLeft": 0.6}, camera), SIZE, camera)
    model = face_model()
    values = np.array([{"jawOpen": 0.4, "mouthSmileLeft": 0.6}.get(n, 0.0) for n in model.rig.expression_names])
    true = model.points(z, values, TURN, np.zeros(3))
    fitted_z = np.linalg.lstsq(model.basis.directions, fit.shape - model.basis.mean, rcond=None)[0]
    fitted = model.points(
        fitted_z, fit.expression.astype(float), fit.joints[4].astype(float), fit.translation.astype(float)
    )
    assert fit.rms_percent < 1
    assert geodesic_degrees(Rotation.from_rotvec(TURN).as_matrix(), turned(fit)) < 3  # pitch and shape trade places
    away = (fitted - fitted.mean(0)) - (true - true.mean(0))
    assert np.sqrt((away**2).sum(1).mean()) < 0.003  # metres: priors and depth leave a little
    np.testing.assert_allclose(fit.camera.K, camera.K)


def test_a_head_matrix_that_is_off_by_three_degrees_is_put_right_by_the_landmarks() -> None:
    camera = known_camera()
    fit = fit_portrait(known_face(np.zeros(40), {"jawOpen": 0.4}, camera, off_by=3.0), SIZE, camera)
    assert geodesic_degrees(Rotation.from_rotvec(TURN).as_matrix(), turned(fit)) < 1.5
    assert fit.rms_percent < 0.3


def test_without_a_camera_the_head_stands_at_the_origin_and_the_picture_is_explained() -> None:
    fit = fit_portrait(known_face(np.zeros(40), {}, known_camera()), SIZE)
    assert fit.rms_percent < 0.5
    np.testing.assert_array_equal(fit.translation, 0)
    assert fit.camera.world_to_camera[2, 3] > 0.3
    assert fit.camera.K[0, 0] == fit.camera.K[1, 1] > 0
    assert fit.camera.K[:2, 2].tolist() == [320, 240]
    assert 0 <= fit.expression.min() <= fit.expression.max() <= 1


def test_the_whole_mesh_is_where_the_landmarks_are() -> None:
    fit = fit_portrait(portrait(), (512, 512))
    found = load_correspondence()
    corners = fit.vertices()[face_model().rig.faces.numpy()[found.faces]].astype(float)
    world = np.einsum("nk,nkc->nc", found.barycentrics, corners)
    seen = world @ fit.camera.world_to_camera[:3, :3].T + fit.camera.world_to_camera[:3, 3]
    pixels = (seen @ fit.camera.K.T)[:, :2] / seen[:, 2:]
    errors = np.linalg.norm(pixels - portrait().landmarks[fit.landmarks, :2], axis=1)
    np.testing.assert_allclose(errors, fit.errors, atol=0.01)


def test_a_real_portrait_is_explained_and_the_answer_is_always_the_same() -> None:
    one, other = fit_portrait(portrait(), (512, 512)), fit_portrait(portrait(), (512, 512))
    assert one.rms_percent < 2.5
    np.testing.assert_array_equal(one.shape, other.shape)
    smile = face_model().rig.expression_names.index("mouthSmileLeft")
    assert one.expression[smile] > 0.3


def test_motion_keeps_identity_and_camera_and_follows_the_face() -> None:
    first = fit_portrait(known_face(np.zeros(40), {}, known_camera()), SIZE)
    face = known_face(np.zeros(40), {"jawOpen": 0.7}, known_camera())
    moved = fit_motion(replace(face, landmarks=face.landmarks + np.float32(20)), first)
    np.testing.assert_array_equal(moved.shape, first.shape)
    assert moved.camera.K[0, 0] == first.camera.K[0, 0]
    assert moved.rms_percent < 1
    assert moved.translation[0] > 0.005  # to the right of the picture
    assert moved.translation[2] < -0.005  # and down
    assert moved.expression[face_model().rig.expression_names.index("jawOpen")] == pytest.approx(0.7, abs=0.15)


def test_the_rotation_of_a_head_matrix_is_that_of_the_head_in_the_cameras_world() -> None:
    face = known_face(np.zeros(40), {}, known_camera())
    np.testing.assert_allclose(
        world_rotation(face.head, known_camera()), Rotation.from_rotvec(TURN).as_matrix(), atol=1e-6
    )


def test_coefficients_go_by_name_and_what_the_landmarker_lacks_is_zero() -> None:
    names = face_model().rig.expression_names
    read = expression_of(np.arange(52), names)
    assert read[names.index("jawOpen")] == ARKIT_NAMES.index("jawOpen")
    assert read[names.index("tongueOut")] == 0
    assert sorted(set(names) - set(ARKIT_NAMES)) == ["tongueOut"]


def test_a_face_of_nan_is_refused() -> None:
    hole = replace(portrait(), landmarks=np.full((478, 3), np.nan, np.float32))
    with pytest.raises(DataError, match="not finite"):
        fit_portrait(hole, (512, 512))
    with pytest.raises(DataError, match="not finite"):
        fit_portrait(replace(portrait(), head=np.full((4, 4), np.nan, np.float32)), (512, 512))


def test_a_track_is_fitted_around_its_holes_and_one_without_a_face_is_refused() -> None:
    fits = fit_track(track_frames(moving_face(3, faceless=(1,))))
    assert [fit is None for fit in fits.fits] == [False, True, False]
    assert np.isnan(fits.rms_pixels).tolist() == [False, True, False]
    with pytest.raises(DataError, match="no face was found in any of the 1 frames"):
        fit_track(track_frames([NO_FACE]))


def test_the_identity_comes_from_the_frame_that_is_most_frontal_and_at_rest() -> None:
    track = track_frames(moving_face(3))
    arkit = track.arkit.copy()
    arkit[:, ARKIT_NAMES.index("jawOpen")] = (0.9, 0.0, 0.5)
    head = np.repeat(track.head[:1], 3, axis=0)
    assert portrait_frame(replace(track, arkit=arkit, head=head)) == 1


def test_correspondence_lies_on_the_right_parts_of_the_head() -> None:
    model, found = face_model(), load_correspondence()
    points = model.points(np.zeros(40), np.zeros(52), np.zeros(3), np.zeros(3))
    place = dict(zip(found.landmarks.tolist(), points, strict=True))
    assert place[33][0] < -0.03 < 0.03 < place[263][0]  # outer eye corners: the subject's right, left
    assert place[1][1] == pytest.approx(min(p[1] for p in place.values()), abs=0.004)  # the tip of the nose is foremost
    assert place[13][2] < place[1][2] < place[33][2] < place[10][2]  # lip, nose, eye, forehead
    assert 0 < found.spread.min() <= found.spread.max() <= 0.008
    np.testing.assert_allclose(found.barycentrics.sum(1), 1)
    assert len(found.landmarks) > 350


def drawn_coefficients(count: int, seed: int) -> np.ndarray:
    """(count, 40): the basis's coefficients whose landmarks are nearest to those of drawn identities."""
    model, found = face_model(), load_correspondence()
    corners = model.rig.faces.numpy()[found.faces]
    moves = np.einsum("nk,nkcs->ncs", found.barycentrics, model.rig.shape_directions.double().numpy()[corners])
    moves -= moves.mean(axis=0)  # where the head stands is no identity
    flat = moves.reshape(-1, moves.shape[-1])
    away = draw_shapes(model.rig, count, seed) - model.basis.mean
    return np.linalg.lstsq(flat @ model.basis.directions, flat @ away.T, rcond=None)[0].T


def test_drawn_identities_are_unit_normal_in_the_basis() -> None:
    z = drawn_coefficients(200, seed=3)  # other draws than the basis was made of
    assert np.abs(z.mean(axis=0)).max() < 0.3  # four standard errors
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.3)
    assert z.std() == pytest.approx(1, abs=0.08)
    assert np.abs(np.corrcoef(z.T) - np.eye(40)).max() < 0.4


def test_drawn_identities_are_reproducible_and_the_first_directions_move_the_face_most() -> None:
    basis, rig = face_model().basis, face_model().rig
    np.testing.assert_array_equal(draw_shapes(rig, 8, seed=3)[:5], draw_shapes(rig, 5, seed=3))
    model = face_model()
    points = np.stack([model.points(z, np.zeros(52), np.zeros(3), np.zeros(3)) for z in np.eye(40)[:2]])
    mean = model.points(np.zeros(40), np.zeros(52), np.zeros(3), np.zeros(3))
    first, second = (np.linalg.norm(p - mean) for p in points)
    assert first > second > 0
    assert basis.directions.shape == (len(rig.shape_names), 40)


def test_drawing_asks_numpy_for_nothing_but_its_promised_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    class Promised:
        def __init__(self, bits: np.random.PCG64) -> None:
            self.random = np.random.default_rng(bits).random

    expected = draw_shapes(face_model().rig, 2, seed=5)
    monkeypatch.setattr(np.random, "Generator", Promised)
    np.testing.assert_array_equal(draw_shapes(face_model().rig, 2, seed=5), expected)


@pytest.mark.slow
def test_the_head_of_a_render_is_found_within_a_few_degrees(tmp_path: Path) -> None:
    from avatarbench.metrics.rotations import euler_degrees
    from avatarbench.tracking.make_correspondence import Scene, orbit_camera

    rig = face_model().rig
    scene, camera = Scene(rig, tmp_path), orbit_camera(yaw=20, pitch=0, size=256)
    shape = torch.from_numpy(draw_shapes(rig, 1, seed=99)).float()
    vertices = rig.rest(shape, rig.template.new_zeros(1, 52))[0][0].double().numpy()
    (face,) = track([scene.render(vertices, camera, samples=8)])
    assert isinstance(face, FaceTrack)
    for given in (None, camera):
        fit = fit_portrait(face, (256, 256), given)
        seen = fit.camera.world_to_camera[:3, :3] @ turned(fit) @ camera.world_to_camera[:3, :3].T
        assert np.abs(euler_degrees(seen)).max() < 7, given
        assert fit.rms_percent < 3
