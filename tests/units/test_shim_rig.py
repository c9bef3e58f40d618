"""Cameras and FLAME parameters for shims: checked against the readers and packages that define the formats."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from avatarbench.isolation.method import plain
from avatarbench.isolation.official import TOOLS
from avatarbench.method import Camera, FlameParameters, Motion
from avatarbench.tracking.vhap import VhapExport

DRAW = np.random.default_rng(3)


@pytest.fixture(scope="module")
def rig() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS[0].parent))
        yield importlib.import_module("shim_rig")


def pose() -> np.ndarray:
    found = np.eye(4)
    found[:3, :3] = Rotation.random(random_state=DRAW).as_matrix()
    found[:3, 3] = DRAW.normal(size=3)
    return found


def motion(index: int, size: int = 512) -> Motion:
    sizes = {"shape": 300, "expr": 100, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
    flame = FlameParameters(**{name: DRAW.normal(size=n).astype(np.float32) for name, n in sizes.items()})
    K = np.array([[900.0, 0, 250.0], [0, 910.0, 260.0], [0, 0, 1]])
    image = np.full((size, size, 3), index, np.uint8)
    return Motion(f"m{index}", 7 * index, image, flame=flame, camera=Camera(K, pose(), size, size))


def test_our_own_reader_reads_the_vhap_folder_back(rig: Any, tmp_path: Path) -> None:
    motions = [motion(index) for index in range(3)]
    export = VhapExport(rig.vhap_folder(str(tmp_path / "export"), [plain(m) for m in motions]))
    assert len(export) == 3
    for one, (flame, camera) in zip(motions, export, strict=True):
        assert one.flame is not None
        assert one.camera is not None
        for name, values in vars(one.flame).items():
            if name != "static_offset":
                np.testing.assert_array_equal(getattr(flame, name), values)
        np.testing.assert_allclose(camera.K, one.camera.K)
        np.testing.assert_allclose(camera.world_to_camera, one.camera.world_to_camera, atol=1e-12)
        assert (camera.width, camera.height) == (512, 512)
    rest = np.load(tmp_path / "export" / "canonical_flame_param.npz")
    assert not rest["expr"].any()
    assert rest["jaw_pose"].tolist() == pytest.approx(np.array([[0.3, 0, 0]], np.float32))
    np.testing.assert_array_equal(rest["shape"], motions[0].flame.shape)  # type: ignore[union-attr]


def test_the_files_have_the_shapes_that_vhap_writes(rig: Any, tmp_path: Path) -> None:
    rig.vhap_folder(str(tmp_path), [plain(motion(0))])
    found = {name: values.shape for name, values in np.load(tmp_path / "flame_param" / "00000.npz").items()}
    assert found == {
        "translation": (1, 3), "rotation": (1, 3), "neck_pose": (1, 3), "jaw_pose": (1, 3), "eyes_pose": (1, 6),
        "shape": (300,), "expr": (1, 100),
    }  # fmt: skip


def test_intrinsics_scale_to_the_size_asked_for(rig: Any, tmp_path: Path) -> None:
    one = plain(motion(0))
    written: list[str] = []
    rig.vhap_folder(str(tmp_path), [one], size=1024, write_image=lambda path, image: written.append(path))
    camera = VhapExport(tmp_path).camera(0)
    np.testing.assert_allclose(camera.K[:2], 2 * one["camera"]["K"][:2])
    assert camera.width == 1024
    assert written == [str(tmp_path / "images" / "00000_00.png")]


def test_fewer_coefficients_are_filled_with_zeros_and_more_are_refused(rig: Any, tmp_path: Path) -> None:
    one = plain(motion(0))
    one["flame"] = {**one["flame"], "expr": np.ones(50, np.float32), "static_offset": np.ones((5143, 3), np.float32)}
    found = rig.flame_arrays(one["flame"])
    assert found["expr"][0, :50].all()
    assert not found["expr"][0, 50:].any()
    assert found["static_offset"].shape == (1, 5143, 3)
    one["flame"]["expr"] = np.ones(101, np.float32)
    with pytest.raises(ValueError, match="'expr' has 101 values, at most 100"):
        rig.flame_arrays(one["flame"])
    with pytest.raises(ValueError, match="'m0' has no FLAME parameters or no camera"):
        rig.vhap_folder(str(tmp_path), [{**one, "flame": None}])


def test_camera_conventions_round_trip_and_agree_on_where_a_point_lands(rig: Any) -> None:
    world_to_camera, K = pose(), np.array([[700.0, 0, 300.0], [0, 710.0, 250.0], [0, 0, 1]])
    to_world = rig.camera_to_world_opengl(world_to_camera)
    np.testing.assert_allclose(rig.world_to_camera_opencv(to_world), world_to_camera, atol=1e-12)
    R, T = rig.pytorch3d_pose(world_to_camera)
    np.testing.assert_allclose(rig.opencv_from_pytorch3d(R, T), world_to_camera, atol=1e-12)

    seen = np.array([0.1, -0.2, 2.0])  # in OpenCV's camera: right of, above, and before it
    point = np.linalg.inv(world_to_camera) @ [*seen, 1]
    np.testing.assert_allclose(np.linalg.inv(to_world) @ point, [0.1, 0.2, -2.0, 1], atol=1e-12)  # OpenGL
    left_up = point[:3] @ R + T
    np.testing.assert_allclose(left_up, [-0.1, 0.2, 2.0], atol=1e-12)  # PyTorch3D

    pixel = (K @ seen)[:2] / seen[2]
    focal, principal = rig.pytorch3d_intrinsics(K, 640, 480)
    ndc = focal * left_up[:2] / left_up[2] + principal  # +x left, +y up, the shorter side spans [-1, 1]
    np.testing.assert_allclose([320 - 240 * ndc[0], 240 - 240 * ndc[1]], pixel)
