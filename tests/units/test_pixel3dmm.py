"""Pixel3DMM's .frame files: the head lands where their own equations put it, and a hostile file runs nothing."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarbench.errors import DataError
from avatarbench.tracking.pixel3dmm import Pixel3dmmFrames, read_frame

HEAD = Rotation.from_rotvec([0.2, -0.3, 0.1])
BASE = Rotation.from_rotvec([0.05, 0.02, -0.04])
JAW = np.array([0.25, 0.0, 0.05])


def six(rotation: Rotation) -> np.ndarray:
    return rotation.as_matrix()[:2].reshape(1, 6).astype(np.float32)


def frame() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    still = Rotation.identity()
    return {
        "flame": {
            "exp": rng.normal(size=(1, 100)).astype(np.float32),
            "shape": rng.normal(size=(1, 300)).astype(np.float32),
            "eyes": np.concatenate([six(Rotation.from_rotvec([0, 0.1, 0])), six(still)], axis=1),
            "eyelids": np.zeros((1, 2), np.float32),
            "jaw": six(Rotation.from_rotvec(JAW)),
            "neck": six(still),
            "R": six(HEAD),
            "t": np.array([[0.01, -0.02, 0.03]], np.float32),
        },
        "img_size": np.array([256, 256]),
        "frame_id": 0,
        "global_step": 200,
        "joint_transforms": np.zeros((1, 5, 4, 4), np.float32),
        "camera": {
            "R_base_0": BASE.as_matrix()[None].astype(np.float32),
            "t_base_0": np.array([[0.0, 0.0, -1.0]], np.float32),
            "fl": np.array([[3.9]], np.float32),
            "pp": np.array([[0.02, -0.01]], np.float32),
        },
    }


def saved(folder: Path, values: Any, number: int = 0) -> Path:
    path = folder / "checkpoint" / f"{number:05d}.frame"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(values, path)
    return path


def test_parameters_come_out_as_axis_angle_with_the_motion_in_the_camera(tmp_path: Path) -> None:
    saved(tmp_path, frame())
    flame, camera = Pixel3dmmFrames(tmp_path)[0]
    np.testing.assert_allclose(flame.jaw_pose, JAW, atol=1e-6)
    np.testing.assert_allclose(flame.eyes_pose, [0, 0.1, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(flame.expr, frame()["flame"]["exp"][0])
    np.testing.assert_array_equal(flame.shape, frame()["flame"]["shape"][0])
    np.testing.assert_array_equal((*flame.rotation, *flame.translation), 0)
    # Their equations: world = R v + t, then the OpenGL camera; the picture's y points down, and z away from the viewer.
    point = np.array([0.03, 0.05, 0.06])
    world = HEAD.apply(point) + np.array([0.01, -0.02, 0.03])
    eye = BASE.apply(world) + np.array([0, 0, -1])
    expected = np.array([eye[0], -eye[1]]) / -eye[2] * 3.9 * 256 + 128.5 + np.array([0.02, -0.01]) * 128.5
    seen = camera.world_to_camera @ (*point, 1)
    np.testing.assert_allclose((camera.K @ seen[:3])[:2] / seen[2], expected, atol=1e-3)


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 100000):
        saved(tmp_path, frame(), number)
    (tmp_path / "checkpoint" / "notes.txt").write_text("x")
    names = [path.name for path in Pixel3dmmFrames(tmp_path / "checkpoint").paths]
    assert names == ["00002.frame", "00010.frame", "100000.frame"]
    assert len(list(Pixel3dmmFrames(tmp_path))) == 3


def test_tensors_and_the_names_of_numpy_1_are_read_too(tmp_path: Path) -> None:
    values = frame()
    values["flame"]["exp"] = torch.from_numpy(values["flame"]["exp"])
    expected = read_frame(saved(tmp_path, frame(), 1))
    old = tmp_path / "old.frame"
    with zipfile.ZipFile(saved(tmp_path, values)) as new, zipfile.ZipFile(old, "w") as written:
        for name in new.namelist():
            written.writestr(name, new.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert b"numpy.core.multiarray" in old.read_bytes()
    flame, camera = read_frame(old)
    np.testing.assert_array_equal(flame.expr, expected[0].expr)
    np.testing.assert_array_equal(camera.world_to_camera, expected[1].world_to_camera)


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("place", ["alone", "in an array", "beside"])
def test_a_hostile_file_is_refused_and_runs_nothing(tmp_path: Path, place: str) -> None:
    trap = Hostile(tmp_path / "ran")
    values: Any = {"alone": trap, "in an array": {**frame(), "x": np.array([trap], object)}}.get(place)
    path = saved(tmp_path, values if values is not None else {**frame(), "x": trap})
    with pytest.raises(DataError, match=r"00000\.frame holds more than tensors.*was not opened"):
        Pixel3dmmFrames(tmp_path)[0]
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists()  # it does bite where it is let


@pytest.mark.parametrize(
    ("table", "key", "value", "message"),
    [
        ("flame", "exp", np.zeros((1, 50), np.float32), r"'exp' has shape \(1, 50\), where \(100,\)"),
        ("flame", "exp", np.zeros((2, 100), np.float32), r"'exp' has shape \(2, 100\)"),
        ("flame", "jaw", np.zeros((1, 6), np.float32), "'jaw' holds no rotation"),
        ("flame", "t", np.full((1, 3), np.inf), "'t' holds NaN or infinite"),
        ("flame", "R", None, "'R' is missing; the file holds exp, eyelids"),
        ("camera", "R_base_0", np.zeros((1, 3, 3)), "'R_base_0' is not a rotation"),
        ("camera", "R_base_0", np.zeros((2, 3, 3)), r"'R_base_0' has shape \(2, 3, 3\)"),
        ("camera", "fl", np.array([[-1.0]]), "'fl' is -1"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, table: str, key: str, value: Any, message: str) -> None:
    values = frame()
    values[table][key] = value
    if value is None:
        del values[table][key]
    saved(tmp_path, values)
    with pytest.raises(DataError, match=rf"00000\.frame: {message}"):
        Pixel3dmmFrames(tmp_path)[0]


def test_a_parameter_that_still_has_its_gradient_is_read_as_its_numbers(tmp_path: Path) -> None:
    values = frame()
    plain = read_frame(saved(tmp_path, values))[0]
    values["flame"]["exp"] = torch.nn.Parameter(torch.from_numpy(np.asarray(values["flame"]["exp"])))
    np.testing.assert_array_equal(read_frame(saved(tmp_path, values))[0].expr, plain.expr)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, frame())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cannot be read as a file of torch\.save|was not opened"):
        read_frame(path)
    with pytest.raises(DataError, match="where a dictionary is expected"):
        read_frame(saved(tmp_path, [1, 2]))
    with pytest.raises(DataError, match="'camera' is missing"):
        read_frame(saved(tmp_path, {"flame": frame()["flame"]}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no '\.frame' files"):
        Pixel3dmmFrames(tmp_path / "empty")
    with pytest.raises(DataError, match="cannot be listed"):
        Pixel3dmmFrames(tmp_path / "nowhere")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    outside = saved(tmp_path / "other", frame())
    saved(tmp_path / "in", frame())
    (tmp_path / "in" / "checkpoint" / "00001.frame").symlink_to(outside)
    with pytest.raises(DataError, match="leads out of"):
        Pixel3dmmFrames(tmp_path / "in")[1]
