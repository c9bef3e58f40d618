"""What drives an avatar: coefficients by name and within bounds, other rigs' parameters refused, bad rows named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from avatarbench.animation.driver import Pose, turned
from avatarbench.animation.opening import open_driver
from avatarbench.errors import DataError, UsageError
from avatarbench.gaussians.head import GaussianHead
from avatarbench.heads.anny import load_anny
from avatarbench.metrics.face import ARKIT_NAMES
from avatarbench.tracking.track_file import Track

ANNY = load_anny()
HEAD = cast(GaussianHead, SimpleNamespace(rig=ANNY, shape=ANNY.shape({})[0]))
FLAME = cast(
    GaussianHead,
    SimpleNamespace(rig=SimpleNamespace(name="flame-teeth", expression_names=tuple(f"e{i}" for i in range(100)))),
)
LIVE = [f"{name[0].upper()}{name[1:]}" for name in ANNY.expression_names]
HEADER = ["Timecode", "BlendShapeCount", *LIVE, "HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw"]


def _csv(path: Path, rows: Sequence[Sequence[object]], header: Sequence[str] = HEADER) -> Path:
    path.write_text("\n".join(",".join(map(str, row)) for row in (header, *rows)) + "\n", encoding="utf-8")
    return path


def _row(jaw: object = 0.0, angles: Sequence[object] = (0, 0, 0)) -> list[object]:
    return ["10:00:00:01.250", 61, *(jaw if name == "JawOpen" else 0.125 for name in LIVE), *angles, 0.3]


def _poses(path: Path, head: GaussianHead = HEAD) -> list[Pose | None]:
    driver = open_driver(path, head)
    found = [frame.pose for frame in driver.frames()]
    assert len(found) == driver.count
    return found


def test_a_table_gives_coefficients_by_name_in_whatever_order_and_case(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(HEADER))
    row = _row(0.75)
    _csv(tmp_path / "a.csv", [row])
    _csv(tmp_path / "b.CSV", [[row[i] for i in order]], [f" {HEADER[i].upper()} " for i in order])
    for name in ("a.csv", "b.CSV"):
        (pose,) = _poses(tmp_path / name)
        assert pose is not None
        values = dict(zip(ANNY.expression_names, pose.expression.tolist(), strict=True))
        assert values.pop("jawOpen") == 0.75
        assert set(values.values()) == {0.125}
        assert not pose.joints.any()
    assert open_driver(tmp_path / "a.csv", HEAD).fps == 60


@pytest.mark.parametrize(
    ("angles", "direction", "axis"),
    [((0.3, 0, 0), (0, -1, 0), 0), ((0, 0.3, 0), (0, -1, 0), 2), ((0, 0, 0.3), (0, 0, 1), 0)],
    ids=["yaw to the person's left", "pitch upwards", "roll to the person's right"],
)
def test_head_angles_turn_the_head_as_they_are_named(
    tmp_path: Path, angles: tuple[float, ...], direction: tuple[int, ...], axis: int
) -> None:
    (pose,) = _poses(_csv(tmp_path / "a.csv", [_row(angles=angles)]))
    assert pose is not None
    vector = pose.joints[ANNY.joint_names.index("head")].numpy()
    assert np.count_nonzero(pose.joints.norm(dim=1)) == 1
    moved = Rotation.from_rotvec(vector).apply(direction)
    sign = -1 if direction[2] else 1  # rolling to the right carries the top of the head to -x
    assert sign * moved[axis] == pytest.approx(np.sin(0.3), abs=1e-6)


@given(st.lists(st.floats(-1.2, 1.2), min_size=3, max_size=3))
def test_yaw_comes_after_pitch_and_pitch_after_roll(angles: list[float]) -> None:
    yaw, pitch, roll = angles
    whole = Rotation.from_rotvec(turned(yaw, pitch, roll))
    parts = [Rotation.from_rotvec(turned(*one)) for one in ((yaw, 0, 0), (0, pitch, 0), (0, 0, roll))]
    assert (whole.inv() * (parts[0] * parts[1] * parts[2])).magnitude() < 1e-9


def test_what_is_out_of_range_is_clamped_and_counted_and_an_empty_row_has_no_face(tmp_path: Path) -> None:
    empty = ["t", 0, *[""] * len(LIVE), "", "", "", ""]
    path = _csv(tmp_path / "a.csv", [_row(1.5), empty, _row(-0.5), _row(1.0005)])
    driver = open_driver(path, HEAD)
    frames = list(driver.frames())
    jaw = ANNY.expression_names.index("jawOpen")
    assert [None if f.pose is None else float(f.pose.expression[jaw]) for f in frames] == [1, None, 0, 1]
    assert frames[1].reason == "no coefficients"
    assert driver.notes == ["2 coefficients lay outside [0, 1] and were moved to its border."]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([_row("nan")], HEADER, "frame 0 has a value that is empty or not finite"),
        ([_row(), _row("")], HEADER, "frame 1 has a value that is empty"),
        ([_row(angles=("inf", 0, 0))], HEADER, "frame 0 has a value"),
        ([_row("wide")], HEADER, "line 2 has 'wide' for JawOpen, which is no number"),
        ([_row()[:-1]], HEADER, "line 2 has 57 cells, and the header names 58"),
        ([_row()[:-9]], HEADER[:-9], "no coefficient for 4 of ARKit's 52 actions (mouthUpperUpLeft"),
        ([], HEADER, "has no frame"),
        ([_row()[:-2]], HEADER[:-2], "has head angles, but no headroll: give all three"),
    ],
)
def test_a_table_that_cannot_drive_is_refused_by_its_line(
    tmp_path: Path, rows: list[list[object]], header: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=r"a\.csv.*" + message.replace("(", r"\(")):
        open_driver(_csv(tmp_path / "a.csv", rows, header), HEAD)


def test_what_a_landmarker_does_not_read_may_be_missing(tmp_path: Path) -> None:
    header = [name for name in HEADER if name != "TongueOut"]
    row = [v for name, v in zip(HEADER, _row(0.5), strict=True) if name != "TongueOut"]
    (pose,) = _poses(_csv(tmp_path / "a.csv", [row], header))
    assert pose is not None
    assert pose.expression[ANNY.expression_names.index("tongueOut")] == 0


def test_arrays_of_coefficients_come_with_mediapipes_head_or_a_rotation(tmp_path: Path) -> None:
    arkit = np.tile(np.linspace(0, 1, 52), (3, 1))
    arkit[2] = np.nan
    heads = np.tile(np.eye(4), (3, 1, 1))
    heads[1, :3, :3] = Rotation.from_euler("y", 0.3).as_matrix()
    np.savez(tmp_path / "a.npz", arkit=arkit, head=heads, fps=50.0)
    first, second, third = _poses(tmp_path / "a.npz")
    assert third is None
    assert first is not None
    assert second is not None
    by_name = dict(zip(ANNY.expression_names, first.expression.tolist(), strict=True))
    assert by_name["jawOpen"] == pytest.approx(arkit[0, ARKIT_NAMES.index("jawOpen")])
    turns = [pose.joints[ANNY.joint_names.index("head")].numpy() for pose in (first, second)]
    assert turns[0] == pytest.approx(np.zeros(3), abs=1e-6)
    assert turns[1] == pytest.approx([0, 0, 0.3], abs=1e-6)
    assert open_driver(tmp_path / "a.npz", HEAD).fps == 50
    np.savez(tmp_path / "b.npz", arkit=arkit[:2], rotation=np.array([[0, 0, 0.3], [0, 0, 0]]))
    (pose, _) = _poses(tmp_path / "b.npz")
    assert pose is not None
    assert pose.joints.numpy() == pytest.approx(second.joints.numpy(), abs=1e-6)


def _states(**changes: Any) -> dict[str, Any]:
    return {
        "expression": np.full((2, 52), 0.25, np.float32),
        "joints": np.zeros((2, 8, 3), np.float32),
        "translation": np.zeros((2, 3), np.float32),
        "expression_names": np.array(ANNY.expression_names),
        "joint_names": np.array(ANNY.joint_names),
    } | changes


def test_states_of_the_rig_drive_as_they_are_with_their_camera(tmp_path: Path) -> None:
    expression = np.full((2, 52), 0.25, np.float32)
    expression[1] = np.nan
    camera = {"K": np.diag([50.0, 50, 1]), "world_to_camera": np.eye(4), "size": np.array([64, 48])}
    np.savez(tmp_path / "anny.npz", **_states(expression=expression), **camera)
    driver = open_driver(tmp_path / "anny.npz", HEAD)
    first, second = driver.frames()
    assert (driver.size, second.pose) == ((64, 48), None)
    assert first.pose is not None
    assert first.pose.camera is not None
    assert torch.equal(first.pose.expression, torch.full((52,), 0.25))
    np.savez(tmp_path / "truth.npz", **_states())
    assert open_driver(tmp_path / "truth.npz", HEAD).size is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"arkit": np.zeros((2, 51))}, "has 51 coefficients a frame, and ARKit has 52"),
        ({"arkit": np.zeros((2, 52)), "arkit_names": np.array(["jawOpen"])}, "1 'arkit_names' for 52"),
        ({"arkit": np.zeros((2, 52)), "rotation": np.zeros((3, 3))}, "'rotation' is"),
        ({"arkit": np.zeros((0, 52))}, "where \\(T, 52\\) numbers"),
        (_states(expression=np.zeros((2, 40))), "'expression' is"),
        (_states(expression_names=np.array(["a", "b"])), "not those of the avatar's rig 'anny'"),
        (_states(joints=np.full((2, 8, 3), np.nan)), "'joints' of frame 0 is not finite"),
        ({"weights": np.zeros(3)}, "holds weights, and no motion"),
        *(
            ({"arkit": np.zeros((2, 52)), "fps": np.array(fps)}, "where one number above 0 and at most 1000")
            for fps in ("fast", [], np.nan, 1e12, -5)
        ),
        ({"arkit": np.zeros((2, 52)), "arkit_names": np.array("jawOpen")}, "1 'arkit_names' for 52"),
        (_states(expression=np.zeros((0, 52))), "has no frame"),
        (
            _states(K=np.eye(3), world_to_camera=np.eye(4), size=np.array([0.4, 0.4])),
            "has no picture of 1 to 16384 pixels",
        ),
        (
            _states(K=np.eye(3), world_to_camera=np.eye(4), size=np.array([1e9, 1])),
            "has no picture of 1 to 16384 pixels",
        ),
    ],
)
def test_arrays_that_cannot_drive_are_refused_by_name(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=message):
        open_driver(tmp_path / "a.npz", HEAD)


def _flame(count: int = 2) -> dict[str, Any]:
    sizes = {"expr": 50, "rotation": 3, "neck_pose": 3, "jaw_pose": 3, "eyes_pose": 6, "translation": 3}
    return {key: np.full((count, size), 0.1 * n) for n, (key, size) in enumerate(sizes.items(), 1)}


def test_flames_parameters_reach_the_joints_that_they_are_of(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **_flame())
    pose, _ = _poses(tmp_path / "a.npz", FLAME)
    assert pose is not None
    assert pose.joints[:, 0].tolist() == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.5])
    assert pose.expression.tolist() == pytest.approx([0.1] * 50 + [0.0] * 50)
    np.savez(tmp_path / "b.npz", **{k: v for k, v in _flame().items() if k != "jaw_pose"})
    with pytest.raises(DataError, match="'jaw_pose' is missing"):
        open_driver(tmp_path / "b.npz", FLAME)


def test_a_driver_of_another_rig_is_refused_and_says_what_drives_this_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "flame.npz", **_flame())
    with pytest.raises(UsageError, match=r"holds FLAME's parameters.*bound to 'anny': drive it by a video"):
        open_driver(tmp_path / "flame.npz", HEAD)
    with pytest.raises(UsageError, match=r"holds ARKit coefficients.*bound to 'flame-teeth': drive it by FLAME's"):
        open_driver(_csv(tmp_path / "a.csv", [_row()]), FLAME)
    with pytest.raises(UsageError, match="a face in pictures"):
        open_driver(Path(__file__), FLAME)
    with pytest.raises(DataError, match=r"nowhere\.mp4 does not exist"):
        open_driver(tmp_path / "nowhere.mp4", HEAD)


def test_a_track_drives_without_its_pictures(tmp_path: Path) -> None:
    nothing = np.full((1, 478, 3), np.nan, np.float32)
    Track(
        nothing, np.full((1, 52), np.nan, np.float32), np.full((1, 4, 4), np.nan, np.float32), np.array([False]),
        np.array([0], np.int32), ("no face found",), (64, 48), 30.0,
    ).save(tmp_path / "track.npz")  # fmt: skip
    driver = open_driver(tmp_path / "track.npz", HEAD)
    (frame,) = driver.frames()
    assert (driver.fps, driver.size, driver.pictures) == (30.0, (64, 48), False)
    assert (frame.pose, frame.reason) == (None, "no face found")
