"""The benchmark against truth: its statistics on arrays whose answer is known, and a folder read end to end."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from avatarbench.errors import DataError
from avatarbench.heads.anny import JOINTS, load_anny
from avatarbench.method import Camera
from avatarbench.metrics.face import ARKIT_NAMES
from avatarbench.metrics.rotations import euler_degrees
from avatarbench.tracking.anny_fit import FRONT
from avatarbench.tracking.truth import head_in_camera, read_truth
from benchmarks import tracking
from tests.e2e.media import FACE, NO_FACE

NAMES = load_anny().expression_names


def frontal() -> Camera:
    pose = np.eye(4)
    pose[:3, :3], pose[2, 3] = FRONT, 1.0
    return Camera(np.array([[500.0, 0, 100], [0, 500, 100], [0, 0, 1]]), pose, 200, 200)


def joints(**turned: list[float]) -> np.ndarray:
    found = np.zeros((len(JOINTS), 3), np.float32)
    for name, vector in turned.items():
        found[JOINTS.index(name)] = np.radians(vector)
    return found


@pytest.mark.parametrize(
    ("turned", "angles"),
    [
        ({}, (0, 0, 0)),
        ({"head": [0, 0, 20]}, (0, 20, 0)),  # about the vertical: to the subject's left, the picture's right
        ({"head": [20, 0, 0]}, (20, 0, 0)),  # about the axis to the subject's left: down
        ({"head": [0, 20, 0]}, (0, 0, -20)),  # about the axis to the back: the top to the picture's right
        ({"neck01": [0, 0, 12], "head": [0, 0, 8]}, (0, 20, 0)),  # the joints above add up
        ({"jaw": [20, 0, 0], "eye.L": [0, 0, 30]}, (0, 0, 0)),  # what hangs on the head does not
    ],
)
def test_angles_of_the_true_head_follow_the_stated_convention(
    turned: dict[str, list[float]], angles: tuple[float, ...]
) -> None:
    np.testing.assert_allclose(euler_degrees(head_in_camera(joints(**turned), frontal())), angles, atol=1e-4)


def test_the_true_head_is_the_rigs_head_joint() -> None:
    rig = load_anny()
    vectors = np.random.default_rng(0).normal(0, 0.2, (len(JOINTS), 3)).astype(np.float32)
    posed = rig(rig.shape({}), rig.template.new_zeros(1, 52), rig.rotations(dict(zip(JOINTS, vectors, strict=True))))
    turn = posed.transforms[0, JOINTS.index("head"), :3, :3].numpy()
    up = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # Anny's axes to x right, y up, z out of the face
    np.testing.assert_allclose(head_in_camera(vectors, frontal()), up @ turn @ up.T, atol=1e-5)


def test_a_camera_that_moves_to_the_subjects_left_sees_the_head_turned_to_the_pictures_left() -> None:
    camera = frontal()
    pose = camera.world_to_camera.copy()
    pose[:3, :3] = FRONT @ Rotation.from_euler("z", -30, degrees=True).as_matrix()
    moved = Camera(camera.K, pose, 200, 200)
    np.testing.assert_allclose(euler_degrees(head_in_camera(joints(), moved)), (0, -30, 0), atol=1e-6)


def test_detection_counts_each_bin_of_yaw_and_leaves_out_empty_ones() -> None:
    yaw = np.array([-44.0, -20, -10, 0, 14, 15])
    found = np.array([False, True, True, True, False, True])
    rows = tracking.detection(yaw, found, (-45, -15, 15, 30, 60))
    assert rows == [("-45 to -15", 1, 2), ("-15 to +15", 2, 3), ("+15 to +30", 1, 1)]


def test_error_and_bias_are_over_frames_that_were_read_and_wrap() -> None:
    true = np.array([[0.0, 10, 179], [0, 0, 0], [5, 5, 5]])
    read = np.array([[2.0, 8, -179], [-4, 2, 0], [np.nan] * 3])
    error, bias = tracking.angle_errors(true, read)
    np.testing.assert_allclose(error, (3, 2, 1))
    np.testing.assert_allclose(bias, (-1, 0, 1))
    assert np.isnan(tracking.angle_errors(true[2:], read[2:])[0]).all()


def test_correlation_is_of_the_most_varying_actions_by_name() -> None:
    rng = np.random.default_rng(0)
    truth, read = np.zeros((50, 52)), np.full((50, 52), 0.5)
    jaw, smile, tongue, puff = (NAMES.index(n) for n in ("jawOpen", "mouthSmileLeft", "tongueOut", "cheekPuff"))
    truth[:, jaw], truth[:, smile] = rng.random(50), 0.5 * rng.random(50)
    truth[:, tongue], truth[:, puff] = 2 * rng.random(50), 0.1 * rng.random(50)
    read[:, ARKIT_NAMES.index("jawOpen")] = 0.3 + 0.2 * truth[:, jaw]
    read[:, ARKIT_NAMES.index("mouthSmileLeft")] = 1 - truth[:, smile]
    read[49] = np.nan
    (jaws, smiles, puffs) = tracking.correlations(truth, NAMES, read, count=3)
    assert (jaws[0], smiles[0], puffs[0]) == ("jawOpen", "mouthSmileLeft", "cheekPuff")  # nobody reads the tongue
    assert jaws[2] == pytest.approx(1)
    assert smiles[2] == pytest.approx(-1)
    assert math.isnan(puffs[2])  # the reading is constant
    assert jaws[1] == pytest.approx(truth[:49, jaw].std())


def split(folder: Path) -> Path:
    """Two frames of one person, numbered 3 and 5, one without a face."""
    camera, serial = frontal(), "222200037"
    person = folder / "501"
    (person / "calibration").mkdir(parents=True)
    calibration = {
        "world_2_cam": {serial: camera.world_to_camera.tolist()},
        "intrinsics": camera.K.tolist(),
        "image_size": [200, 200],
    }
    (person / "calibration" / "camera_params.json").write_text(json.dumps(calibration))
    images = person / "sequences" / "FREE" / "images" / f"cam_{serial}"
    images.mkdir(parents=True)
    for number, image in ((3, FACE), (5, NO_FACE)):
        Image.fromarray(image).save(images / f"frame_{number:05d}.webp", lossless=True)
    write_truth(person / "sequences" / "FREE" / "truth.npz")
    return folder


def write_truth(path: Path, **change: np.ndarray) -> None:
    count = 6
    arrays = {
        "frames": np.arange(count),
        "expression": np.zeros((count, 52), np.float32),
        "joints": np.stack([joints(head=[0, 0, 4 * n]) for n in range(count)]),
        "translation": np.zeros((count, 3), np.float32),
        "expression_names": np.array(NAMES),
        "joint_names": np.array(JOINTS),
    }
    np.savez(path, **{**arrays, **change})


def test_a_folder_is_measured_by_frame_number_and_reported(tmp_path: Path) -> None:
    found = tracking.measure(split(tmp_path))
    assert found.found.tolist() == [True, False]
    np.testing.assert_allclose(found.angles[:, 1], (12, 20), atol=1e-4)
    assert np.isfinite(found.read_angles[0]).all()
    assert np.isnan(found.read_angles[1]).all()
    text = tracking.report(found)
    assert "frames: 2, face found in 1 (50.0 %)" in text
    assert "+0 to +15        1 of 1      100.0 %" in text
    assert "Anny fit" not in text


def test_a_fit_is_measured_where_it_is_asked_for(tmp_path: Path) -> None:
    found = tracking.measure(split(tmp_path), limit=1, fit=True)
    assert len(found.found) == 1
    assert np.abs(found.fit_angles - found.read_angles).max() < 12
    assert 0 < found.fit_percent[0] < 4
    assert "Anny fit, reprojection error" in tracking.report(found)


def test_wrong_truth_is_named_and_a_folder_without_any_is_refused(tmp_path: Path) -> None:
    path = split(tmp_path) / "501" / "sequences" / "FREE" / "truth.npz"
    for change, message in (
        ({"joints": np.zeros((6, 7, 3))}, r"'joints' has shape \(6, 7, 3\), where \(6, 8, 3\)"),
        ({"joint_names": np.array(JOINTS[::-1])}, "'joint_names' are eye.R"),
    ):
        write_truth(path, **change)
        with pytest.raises(DataError, match=message):
            read_truth(path)
    write_truth(path)
    with pytest.raises(DataError, match="has no frame 9; it has 0 to 5"):
        read_truth(path).row(9)
    path.unlink()
    with pytest.raises(DataError, match=r"no sequence with a truth\.npz"):
        tracking.measure(tmp_path)
