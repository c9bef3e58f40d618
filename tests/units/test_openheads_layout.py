"""OpenHeads' files: lossless videos, exact truth, and a manifest that tells whether two folders are the same data."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from nersemble_data.data.nersemble_data import NeRSembleParticipantDataManager

from avatarbench.datasets.video import Video
from avatarbench.errors import DataError, UsageError
from avatarbench.heads.anny import JOINTS
from avatarbench.openheads.cameras import FRONTAL, SERIALS, rig_cameras
from avatarbench.openheads.encode import Encoder
from avatarbench.openheads.identity import draw
from avatarbench.openheads.layout import Take, write_calibration, write_truth
from avatarbench.openheads.manifest import describe, scene, settle
from avatarbench.openheads.names import EXPRESSIONS
from avatarbench.openheads.sequences import sequence


@pytest.mark.parametrize(("height", "width", "fps"), [(32, 32, 25.0), (33, 47, 24.0), (16, 64, 29.97)])
def test_videos_lose_nothing_and_opencv_reads_them(tmp_path: Path, height: int, width: int, fps: float) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (30, height, width, 3), dtype=np.uint8)
    with Encoder(tmp_path / "v.mp4", fps) as encoder:
        for frame in frames:
            encoder.add(frame)
    ours = Video(tmp_path / "v.mp4")
    assert len(ours) == 30
    assert all(np.array_equal(ours.read(index), frames[index]) for index in (29, 0, 7))
    theirs = cv2.VideoCapture(str(tmp_path / "v.mp4"))
    assert theirs.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    assert theirs.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, abs=0.01)
    theirs.set(cv2.CAP_PROP_POS_FRAMES, 28)
    assert np.array_equal(theirs.read()[1][..., ::-1], frames[28])


def test_a_grey_video_is_grey_in_all_channels(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 1), dtype=np.uint8)
    with Encoder(tmp_path / "m.mp4", 25) as encoder:
        for frame in mask:
            encoder.add(frame)
    assert np.array_equal(Video(tmp_path / "m.mp4").read(1), np.repeat(mask[1], 3, axis=-1))


def test_the_calibration_opens_in_nersembles_own_package(tmp_path: Path) -> None:
    cameras = rig_cameras(64)
    write_calibration(tmp_path, 7, cameras)
    found = NeRSembleParticipantDataManager(str(tmp_path), 7).load_camera_calibration()
    assert set(found.world_2_cam) == set(SERIALS)
    assert np.asarray(found.world_2_cam[FRONTAL]) == pytest.approx(cameras[FRONTAL].world_to_camera)
    assert np.asarray(found.intrinsics) == pytest.approx(cameras[FRONTAL].K)
    stored = json.loads((tmp_path / "007" / "calibration" / "camera_params.json").read_text())
    assert stored["image_size"] == [64, 64]


def test_truth_comes_back_exactly(tmp_path: Path) -> None:
    states = sequence("FREE", 3, 4, 6)
    take = Take(tmp_path, 12, "FREE")
    write_truth(take.truth, states, range(0, 60, 10))
    with np.load(tmp_path / "012" / "sequences" / "FREE" / "truth.npz", allow_pickle=False) as found:
        assert np.array_equal(found["expression"], [s.expression for s in states])
        assert np.array_equal(found["joints"], [s.joints for s in states])
        assert np.array_equal(found["translation"], [s.translation for s in states])
        assert found["frames"].tolist() == [0, 10, 20, 30, 40, 50]
        assert tuple(found["expression_names"]) == EXPRESSIONS
        assert tuple(found["joint_names"]) == JOINTS


def fixed(seed: int = 1, size: int = 64) -> dict:
    return describe("train", seed, size, 8, 25.0, "rig", {"frames": 5})


def scenes(indices: tuple[int, ...], names: tuple[str, ...], seed: int = 1) -> dict:
    return {f"{i:03d}": scene(draw(seed, i), {name: sequence(name, seed, i, 5) for name in names}) for i in indices}


def test_a_manifest_grows_and_its_hash_does_not_depend_on_the_order(tmp_path: Path) -> None:
    settle(tmp_path / "a", fixed(), scenes((2, 1), ("FREE",)))
    settle(tmp_path / "a", fixed(), scenes((1,), ("EXP-2-eyes",)))
    grown = settle(tmp_path / "a", fixed(), scenes((1, 2), ("EXP-2-eyes", "FREE")))
    at_once = settle(tmp_path / "b", fixed(), scenes((1, 2), ("FREE", "EXP-2-eyes")))
    assert grown == at_once == json.loads((tmp_path / "a" / "openheads.json").read_text())
    assert list(grown["scenes"]) == ["001", "002"]
    other = settle(tmp_path / "c", fixed(seed=2), scenes((1, 2), ("FREE", "EXP-2-eyes"), seed=2))
    assert other["scene_sha256"] != grown["scene_sha256"]


def test_a_folder_of_other_data_is_refused_with_every_difference(tmp_path: Path) -> None:
    settle(tmp_path, fixed(), scenes((1,), ("FREE",)))
    before = (tmp_path / "openheads.json").read_bytes()
    with pytest.raises(UsageError) as caught:
        settle(tmp_path, fixed(seed=2, size=32), scenes((1,), ("FREE",), seed=2))
    assert "seed is 1 there and 2 here; size is 64 there and 32 here; person 001 is somebody else" in str(caught.value)
    assert "sequence FREE of person 001 moves otherwise there" in str(caught.value)
    assert (tmp_path / "openheads.json").read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "is not OpenHeads' manifest"),
        ("{}", "its list of scenes is damaged"),
        ('{"scenes": {"001": 5}}', "its list of scenes is damaged"),
        ('{"scenes": {"one": {"identity": "a", "sequences": {}}}}', "its list of scenes is damaged"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "openheads.json").write_text(content)
    with pytest.raises(DataError, match=message):
        settle(tmp_path, fixed(), {})


def test_a_person_without_a_number_is_named_where_all_else_is_right(tmp_path: Path) -> None:
    found = settle(tmp_path, fixed(), scenes((1,), ("FREE",)))
    (tmp_path / "openheads.json").write_text(json.dumps({**found, "scenes": {"x": found["scenes"]["001"]}}))
    with pytest.raises(DataError, match=r"openheads\.json: its list of scenes is damaged"):
        settle(tmp_path, fixed(), scenes((1,), ("FREE",)))


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(UsageError, match=r"is not empty and has no openheads\.json"):
        settle(tmp_path, fixed(), {})
