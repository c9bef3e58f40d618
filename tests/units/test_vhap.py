"""VHAP's exports: cameras in OpenCV axes, parameters in their shapes, and every fault named with file and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarbench.errors import DataError
from avatarbench.tracking.vhap import VhapExport

SHAPES: dict[str, tuple[int, ...]] = {
    "translation": (1, 3),
    "rotation": (1, 3),
    "neck_pose": (1, 3),
    "jaw_pose": (1, 3),
    "eyes_pose": (1, 6),
    "shape": (300,),
    "expr": (1, 100),
    "static_offset": (1, 5143, 3),
}


def parameters(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {key: rng.normal(size=shape).astype(np.float32) for key, shape in SHAPES.items()}


def export(folder: Path, frames: int = 2, frame: dict[str, Any] | None = None) -> Path:
    (folder / "flame_param").mkdir(parents=True, exist_ok=True)
    listed = []
    for index in range(frames):
        np.savez(folder / "flame_param" / f"{index:05d}.npz", **parameters(index))
        to_world = np.eye(4)
        to_world[:3, 3] = 0.1 * index, 0, 1
        entry = {
            "timestep_index": index,
            "camera_index": 0,
            **{"cx": 256.0, "cy": 250.0, "fl_x": 1000.0, "fl_y": 1001.0, "h": 500, "w": 512},
            "transform_matrix": to_world.tolist(),
            "flame_param_path": f"flame_param/{index:05d}.npz",
        }
        listed.append({k: v for k, v in {**entry, **(frame or {})}.items() if v is not None})
    (folder / "transforms.json").write_text(json.dumps({"frames": listed, "fl_x": 7.0}))
    return folder


def test_parameters_and_cameras_come_out_as_they_went_in(tmp_path: Path) -> None:
    found = VhapExport(export(tmp_path))
    assert len(found) == len(list(found)) == 2
    flame, camera = found[1]
    true = parameters(1)
    for key in SHAPES:
        np.testing.assert_array_equal(getattr(flame, key).ravel(), true[key].ravel())
    assert (flame.shape.shape, flame.expr.shape, flame.eyes_pose.shape) == ((300,), (100,), (6,))
    assert flame.static_offset is not None
    assert flame.static_offset.shape == (5143, 3)
    np.testing.assert_array_equal(camera.K, [[1000, 0, 256], [0, 1001, 250], [0, 0, 1]])
    assert (camera.width, camera.height) == (512, 500)


def test_a_camera_that_looks_along_minus_z_sees_what_is_above_at_the_top(tmp_path: Path) -> None:
    _, camera = VhapExport(export(tmp_path))[0]  # at (0, 0, 1), OpenGL axes: the origin is in front of it

    def pixel(point: tuple[float, float, float]) -> np.ndarray:
        seen = camera.world_to_camera @ (*point, 1)
        assert seen[2] > 0
        return (camera.K @ seen[:3])[:2] / seen[2]

    np.testing.assert_allclose(pixel((0, 0, 0)), [256, 250])
    assert pixel((0, 0.1, 0))[1] < 250
    assert pixel((0.1, 0, 0))[0] > 256


def test_intrinsics_of_the_file_stand_in_for_the_frames_own(tmp_path: Path) -> None:
    assert VhapExport(export(tmp_path, frame={"fl_x": None}))[0][1].K[0, 0] == 7.0


def test_a_file_without_offsets_has_none_and_frames_are_read_only_when_asked_for(tmp_path: Path) -> None:
    export(tmp_path)
    bare = {k: v for k, v in parameters().items() if k != "static_offset"}
    np.savez(tmp_path / "flame_param" / "00000.npz", **bare)
    (tmp_path / "flame_param" / "00001.npz").unlink()
    found = VhapExport(tmp_path)
    assert found[0][0].static_offset is None
    with pytest.raises(DataError, match=r"'flame_param_path' of frame 1 names 'flame_param/00001.npz'.*is not there"):
        found[1]
    with pytest.raises(IndexError):
        found[2]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("shape", np.zeros(299), r"00000\.npz: 'shape' has shape \(299,\), where \(300,\)"),
        ("jaw_pose", np.zeros((3, 1)), r"00000\.npz: 'jaw_pose' has shape \(3, 1\)"),
        ("expr", np.full((1, 100), np.nan), r"00000\.npz: 'expr' holds NaN"),
        ("eyes_pose", np.array([["a"] * 6]), r"00000\.npz: 'eyes_pose' holds <U1"),
        ("rotation", None, r"00000\.npz: 'rotation' is missing; the file holds expr, eyes_pose"),
        ("static_offset", np.zeros((1, 5, 2)), r"'static_offset' has shape \(1, 5, 2\), where \(1, V, 3\)"),
        ("translation", np.array([{}], object), r"00000\.npz cannot be read as an \.npz of arrays"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, key: str, value: np.ndarray | None, message: str) -> None:
    export(tmp_path)
    changed = {k: v for k, v in {**parameters(), key: value}.items() if v is not None}
    np.savez(tmp_path / "flame_param" / "00000.npz", **changed)
    with pytest.raises(DataError, match=message):
        VhapExport(tmp_path)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transform_matrix": np.ones((4, 4)).tolist()}, "'transform_matrix' of frame 0 is not a rotation"),
        ({"transform_matrix": np.eye(3).tolist()}, r"has shape \(3, 3\), where \(4, 4\)"),
        ({"transform_matrix": [[1, 2], [3]]}, "'transform_matrix' is no array"),
        ({"transform_matrix": None}, "'transform_matrix' is missing"),
        ({"cy": "middle"}, "frame 0 has 'cy' = 'middle'"),
        ({"h": None}, "frame 0 has 'h' = None"),
        ({"fl_y": -5.0}, "not positive"),
        ({"flame_param_path": None}, "no 'flame_param_path': export again with --tgt-mode param"),
        ({"flame_param_path": "../../secret.npz"}, "leads out of"),
        ({"flame_param_path": "/etc/passwd"}, "leads out of"),
        ({"flame_param_path": "a\0b"}, "is no path|leads out|not there"),
    ],
)
def test_wrong_frames_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "secret.npz", **parameters())
    with pytest.raises(DataError, match=message):
        VhapExport(export(tmp_path / "a" / "b", frame=change))[0]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    export(tmp_path / "in")
    np.savez(tmp_path / "secret.npz", **parameters())
    (tmp_path / "in" / "flame_param" / "00000.npz").unlink()
    (tmp_path / "in" / "flame_param" / "00000.npz").symlink_to(tmp_path / "secret.npz")
    with pytest.raises(DataError, match="leads out of"):
        VhapExport(tmp_path / "in")[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "does not exist"), ("{", "cannot be read as JSON"), ("[]", "'frames'"), ('{"frames": [3]}', "'frames'")],
)
def test_a_folder_without_a_usable_transforms_file_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(DataError, match=message):
        VhapExport(tmp_path)
