import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench.dataset import camera_of, frame_number_of, identity_of, mask_of
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.nersemble_matte import difference_matte
from avatarbench.datasets.openheads import OPENHEADS, openheads
from avatarbench.errors import DataError
from tests.e2e.media import write_video
from tests.units.nersemble_fixture import (
    FRONTAL,
    LEFT,
    RIGHT,
    pictures,
    pose,
    write_calibration,
    write_split,
    write_videos,
)


def test_sequences_are_named_by_person_recording_and_camera(tmp_path: Path) -> None:
    write_videos(tmp_path, "017", "EMO-1-shout+laugh", {FRONTAL: pictures(3), LEFT: pictures(3, 1)})
    write_videos(tmp_path, "240", "SEN-01-cramp_small_danger", {FRONTAL: pictures(2)})
    data = NersembleDataset(tmp_path)
    names = [f"017_EMO-1-shout+laugh_{FRONTAL}", f"017_EMO-1-shout+laugh_{LEFT}"]
    assert data.sequences() == [*names, f"240_SEN-01-cramp_small_danger_{FRONTAL}"]
    assert [data.identity(s) for s in data.sequences()] == ["017", "017", "240"]
    assert [data.length(s) for s in data.sequences()] == [3, 3, 2]
    assert NersembleDataset(tmp_path, subset=("017_*",)).sequences() == names


def test_video_frames_are_those_that_were_written_in_any_order(tmp_path: Path) -> None:
    frames = {FRONTAL: pictures(5), LEFT: pictures(5, 1), RIGHT: pictures(5, 2)}
    write_videos(tmp_path, "017", "FREE", frames)
    data = NersembleDataset(tmp_path)
    for index in (4, 0, 2):
        for serial, expected in frames.items():
            assert np.array_equal(data.read(f"017_FREE_{serial}", index), expected[index])
    data.close()


def test_numbered_frames_keep_their_time_steps(tmp_path: Path) -> None:
    face = pictures(1, size=(64, 64))[0]
    data = openheads(write_split(tmp_path, {"501": face, "509": face}, steps=7))
    sequence = f"501_FREE_{LEFT}"
    assert data.length(sequence) == 2
    assert [frame_number_of(data, sequence, i) for i in range(2)] == [1, 4]
    assert np.array_equal(data.read(sequence, 1), np.roll(face, 4, 1))
    assert identity_of(data, f"501_FREE-AS-509_{LEFT}") == "501"
    with pytest.raises(DataError, match="has 2 frames; frame 2"):
        data.read(sequence, 2)


def test_the_camera_is_scaled_to_the_frames(tmp_path: Path) -> None:
    person = write_videos(tmp_path, "017", "FREE", {LEFT: pictures(2, size=(48, 64))})
    write_calibration(person, image_size=(128, 96))
    camera = camera_of(NersembleDataset(tmp_path), f"017_FREE_{LEFT}")
    assert camera is not None
    assert (camera.width, camera.height) == (64, 48)
    assert np.allclose(camera.K, [[45, 0, 15.25], [0, 46, 12.625], [0, 0, 1]])
    assert np.allclose(camera.world_to_camera, pose(0.3))


def test_without_an_image_size_the_calibration_is_for_nersembles_own(tmp_path: Path) -> None:
    person = write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(1, size=(802, 550))})
    write_calibration(person, image_size=None)
    camera = NersembleDataset(tmp_path).camera(f"017_FREE_{FRONTAL}")
    assert camera is not None
    assert camera.K[0, 0] == pytest.approx(90 / 4)
    assert camera.K[1, 2] == pytest.approx(25.25 / 4)


def test_a_person_without_calibration_has_no_camera(tmp_path: Path) -> None:
    (write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(1)}) / "calibration" / "camera_params.json").unlink()
    assert NersembleDataset(tmp_path).camera(f"017_FREE_{FRONTAL}") is None


def test_stored_masks_come_with_their_frames(tmp_path: Path) -> None:
    face = pictures(1, size=(64, 64))[0]
    data = openheads(write_split(tmp_path, {"501": face}, steps=3))
    for sequence in data.sequences():
        mask = mask_of(data, sequence, 0)
        assert mask is not None
        assert mask.dtype == np.float32
        assert np.array_equal(mask, data.read(sequence, 0).max(axis=2) > 127)


def test_masks_may_be_videos(tmp_path: Path) -> None:
    person = write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(3)})
    folder = person / "sequences" / "FREE" / "masks"
    folder.mkdir()
    levels = [np.full((48, 64, 3), level, np.uint8) for level in (0, 51, 255)]
    write_video(folder / f"cam_{FRONTAL}.mp4", levels)
    data = NersembleDataset(tmp_path)
    assert [float(data.mask(f"017_FREE_{FRONTAL}", i).mean()) for i in range(3)] == pytest.approx([0, 0.2, 1])  # type: ignore[union-attr]


def test_without_stored_masks_the_empty_stage_gives_a_rough_one_and_a_note_says_so(tmp_path: Path) -> None:
    empty = np.full((48, 64, 3), 200, np.uint8)
    person = empty.copy()
    person[10:40, 20:44] = (90, 60, 40)
    folder = write_videos(tmp_path, "017", "FREE", {FRONTAL: [person]})
    (folder / "sequences" / "BACKGROUND").mkdir()
    Image.fromarray(empty).save(folder / "sequences" / "BACKGROUND" / f"image_{FRONTAL}.jpg", quality=95)
    data = NersembleDataset(tmp_path)
    mask = data.mask(f"017_FREE_{FRONTAL}", 0)
    assert mask is not None
    assert mask[12:38, 22:42].min() == 1
    assert mask[:7].max() == 0
    assert any("rough" in note for note in data.notes(f"017_FREE_{FRONTAL}"))


def test_without_masks_and_empty_stage_there_is_no_mask(tmp_path: Path) -> None:
    write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(1)})
    assert NersembleDataset(tmp_path).mask(f"017_FREE_{FRONTAL}", 0) is None


def test_a_matte_grows_with_the_difference_and_resizes_the_stage() -> None:
    empty = np.full((30, 40, 3), 100, np.uint8)
    values = [
        float(difference_matte(np.full((60, 80, 3), 100 + d, np.uint8), empty).mean()) for d in (0, 5, 20, 30, 60)
    ]
    assert values[:2] == [0, 0]
    assert 0 < values[2] < values[3] < values[4] == 1


def test_digest_follows_frames_masks_and_calibration(tmp_path: Path) -> None:
    write_split(tmp_path, {"501": pictures(1, size=(64, 64))[0]}, steps=3)
    sequence = f"501_FREE_{FRONTAL}"
    seen = {NersembleDataset(tmp_path).digest(sequence)}
    assert NersembleDataset(tmp_path).digest(sequence) in seen
    write_calibration(tmp_path / "501", image_size=(32, 32))
    seen.add(NersembleDataset(tmp_path).digest(sequence))
    for kind in ("masks", "images"):
        path = tmp_path / "501" / "sequences" / "FREE" / kind / f"cam_{FRONTAL}" / "frame_00000.webp"
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path, lossless=True)
        seen.add(NersembleDataset(tmp_path).digest(sequence))
    assert len(seen) == 4


def test_colour_calibration_is_applied_on_request(tmp_path: Path) -> None:
    frame = np.full((48, 64, 3), (200, 100, 50), np.uint8)
    person = write_videos(tmp_path, "017", "FREE", {FRONTAL: [frame]})
    sequence = f"017_FREE_{FRONTAL}"
    plain = NersembleDataset(tmp_path, colour=True)
    assert np.array_equal(plain.read(sequence, 0), frame)
    assert plain.notes(sequence)[0] == "no colour calibration: colours as recorded"
    swapped = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    (person / "calibration" / "color_calibration.json").write_text(json.dumps({FRONTAL: swapped}))
    assert np.array_equal(NersembleDataset(tmp_path).read(sequence, 0), frame)
    assert np.array_equal(NersembleDataset(tmp_path, colour=True).read(sequence, 0), frame[..., ::-1])


def test_the_openheads_spec_names_its_family_and_flag() -> None:
    assert (OPENHEADS.family, OPENHEADS.option) == ("openheads", "--openheads")


def test_an_installation_without_the_split_says_so_and_takes_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avatarbench.datasets.openheads.files", lambda package: tmp_path)
    with pytest.raises(DataError, match=r"lacks the OpenHeads test split.*install avatarbench again.*--openheads"):
        openheads()
    write_split(tmp_path / "test", {"501": pictures(1, size=(64, 64))[0]}, steps=3)
    assert f"501_PORTRAIT_{FRONTAL}" in openheads().sequences()
