"""Both ways: the package `nersemble_data` opens what our reader reads, and the reader reads what the package opens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nersemble_data.constants import ASSETS, SERIALS
from nersemble_data.data.nersemble_data import NeRSembleDataManager, NeRSembleParticipantDataManager
from nersemble_data.util.color_correction import correct_color

from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.nersemble_calibration import TERMS, correct_colour
from tests.e2e.media import write_video
from tests.units.nersemble_fixture import FRONTAL, LEFT, RIGHT, pictures, write_calibration, write_videos
from tests.units.nersemble_fixture import SERIALS as OURS

SEQUENCE = "EMO-1-shout+laugh"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    frames = {FRONTAL: pictures(6), LEFT: pictures(6, 1), RIGHT: pictures(6, 2)}
    person = write_videos(tmp_path, "017", SEQUENCE, frames)
    rng = np.random.default_rng(0)
    matrices = {s: (np.eye(3, 10) + 0.05 * rng.standard_normal((3, 10))).tolist() for s in frames}
    (person / "calibration" / "color_calibration.json").write_text(json.dumps(matrices))
    return tmp_path


def test_the_package_lists_what_the_reader_lists(root: Path) -> None:
    assert set(OURS) <= set(SERIALS)
    assert NeRSembleDataManager(str(root)).list_participants() == [17]
    theirs = NeRSembleParticipantDataManager(str(root), 17)
    assert theirs.list_sequences() == [SEQUENCE]
    data = NersembleDataset(root)
    names = sorted(f"017_{SEQUENCE}_{serial}" for serial in theirs.list_cameras(SEQUENCE))
    assert data.sequences() == names
    assert {data.length(s) for s in names} == {theirs.get_n_timesteps(SEQUENCE)}


def test_cameras_are_equal(root: Path) -> None:
    theirs = NeRSembleParticipantDataManager(str(root), 17).load_camera_calibration()
    for serial in OURS:
        camera = NersembleDataset(root).camera(f"017_{SEQUENCE}_{serial}")
        assert camera is not None
        assert np.allclose(camera.K, theirs.intrinsics, rtol=1e-6)
        assert np.allclose(camera.world_to_camera, theirs.world_2_cam[serial], atol=1e-6)


def test_frames_are_equal(root: Path) -> None:
    theirs = NeRSembleParticipantDataManager(str(root), 17)
    data = NersembleDataset(root)
    for index in (5, 0, 3):
        expected = theirs.load_image(SEQUENCE, LEFT, index, as_uint8=True)
        assert np.array_equal(data.read(f"017_{SEQUENCE}_{LEFT}", index), expected)


def test_colour_corrected_frames_agree_to_its_rounding(root: Path) -> None:
    """The package cuts decimals off where the reader rounds, so it is up to one level darker."""
    theirs = NeRSembleParticipantDataManager(str(root), 17)
    ours = NersembleDataset(root, colour=True).read(f"017_{SEQUENCE}_{RIGHT}", 2)
    floating = theirs.load_image(SEQUENCE, RIGHT, 2, apply_color_correction=True)
    assert np.abs(ours - 255 * np.clip(floating, 0, 1)).max() <= 0.5 + 1e-6
    levels = theirs.load_image(SEQUENCE, RIGHT, 2, as_uint8=True, apply_color_correction=True)
    assert set(np.unique(ours.astype(int) - levels)) <= {0, 1}


@pytest.mark.parametrize("terms", sorted(TERMS))
def test_every_polynomial_has_its_terms_in_the_same_order(terms: int) -> None:
    rng = np.random.default_rng(terms)
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    matrix = np.eye(3, terms) * 0.7 + 0.02 * rng.standard_normal((3, terms))
    expected = 255 * np.clip(correct_color(image / 255, matrix), 0, 1)
    assert np.abs(correct_colour(image, matrix) - expected).max() <= 0.5 + 1e-6


def test_the_reader_opens_a_folder_made_of_the_packages_own_paths(tmp_path: Path) -> None:
    def path(asset: str, group: str) -> Path:
        found = tmp_path / ASSETS[group][asset].format(p_id=3, seq_name="FREE", serial=FRONTAL)
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    write_video(path("images", "per_cam"), pictures(2))
    assert write_calibration(tmp_path / "003") == path("calibration", "per_person")
    path("color_calibration", "per_person").write_text(json.dumps({FRONTAL: np.eye(3).tolist()}))
    path("backgrounds", "per_person_cam").write_bytes(b"")
    data = NersembleDataset(tmp_path, colour=True)
    assert data.sequences() == [f"003_FREE_{FRONTAL}"]
    assert np.array_equal(data.read(f"003_FREE_{FRONTAL}", 1), pictures(2)[1])
    assert data.camera(f"003_FREE_{FRONTAL}") is not None
