import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.errors import DataError
from tests.units.nersemble_fixture import FRONTAL, LEFT, RIGHT, pictures, write_calibration, write_split, write_videos

SEQUENCE = f"017_FREE_{FRONTAL}"


def test_a_folder_that_is_no_nersemble_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is no NeRSemble or OpenHeads folder \(looked for NNN/sequences/NAME/images"):
        NersembleDataset(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        NersembleDataset(tmp_path / "nowhere")
    person = write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(1)})
    with pytest.raises(DataError, match="one person's folder: name the folder above"):
        NersembleDataset(person)


def test_an_identity_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "018").write_text("a file")
    with pytest.raises(DataError, match="Passed over: 018 is not a folder"):
        NersembleDataset(tmp_path)
    write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(1)})
    data = NersembleDataset(tmp_path)
    assert data.sequences() == [SEQUENCE]
    with pytest.raises(DataError, match=rf"no sequence '018_FREE_{FRONTAL}'.*018 is not a folder"):
        data.read(f"018_FREE_{FRONTAL}", 0)


def test_a_missing_camera_is_named_and_the_others_are_served(tmp_path: Path) -> None:
    write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(2), RIGHT: pictures(2, 1)})
    write_videos(tmp_path, "018", "FREE", {FRONTAL: pictures(2), LEFT: pictures(2), RIGHT: pictures(2)})
    data = NersembleDataset(tmp_path)
    assert np.array_equal(data.read(f"017_FREE_{RIGHT}", 1), pictures(2, 1)[1])
    assert any(f"017/FREE lacks camera {LEFT}" in note for note in data.notes(SEQUENCE))
    assert not any("lacks camera" in note for note in data.notes(f"018_FREE_{FRONTAL}"))
    with pytest.raises(DataError, match=rf"no sequence '017_FREE_{LEFT}'; it has 017_FREE_{RIGHT}, {SEQUENCE} of"):
        data.length(f"017_FREE_{LEFT}")


def test_a_truncated_video_says_how_many_frames_can_be_read(tmp_path: Path) -> None:
    person = write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(40), LEFT: pictures(40, 1)})
    path = person / "sequences" / "FREE" / "images" / f"cam_{FRONTAL}.mp4"
    data = path.read_bytes()
    start = data.index(b"mdat")
    path.write_bytes(data[: start + 4 + 1500] + bytes(len(data) - start - 1504))  # the tail never arrived
    broken = NersembleDataset(tmp_path)
    with pytest.raises(DataError, match=rf"cam_{FRONTAL}\.mp4 .*frames"):
        broken.read(SEQUENCE, 39)
    assert np.array_equal(broken.read(f"017_FREE_{LEFT}", 39), pictures(40, 1)[39])
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=rf"cam_{FRONTAL}\.mp4.*0 frames"):
        NersembleDataset(tmp_path).length(SEQUENCE)


def test_cameras_of_unequal_length_serve_the_common_one_with_a_note(tmp_path: Path) -> None:
    write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(5), LEFT: pictures(3, 1)})
    data = NersembleDataset(tmp_path)
    assert [data.length(s) for s in data.sequences()] == [3, 3]
    assert "the cameras of 017/FREE have 3 to 5 frames: the first 3 are served" in data.notes(SEQUENCE)
    with pytest.raises(DataError, match="has 3 frames; frame 3"):
        data.read(SEQUENCE, 3)


def _other_camera(content: dict) -> None:
    del content["world_2_cam"][FRONTAL]


def _flat(content: dict) -> None:
    content["world_2_cam"][FRONTAL] = [[1, 0, 0, 0]] * 3


def _undefined(content: dict) -> None:
    content["world_2_cam"][FRONTAL][0][3] = float("nan")


def _stretched(content: dict) -> None:
    content["world_2_cam"][FRONTAL][0][0] = 2.0


def _words(content: dict) -> None:
    content["intrinsics"] = "wide"


def _no_focus(content: dict) -> None:
    content["intrinsics"][0][0] = 0


def _half(content: dict) -> None:
    content["image_size"] = [2200]


def _square(content: dict) -> None:
    content["image_size"] = [100, 100]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (_other_camera, rf"no world_2_cam\['{FRONTAL}'\], it has {RIGHT}, {LEFT}"),
        (_flat, rf"world_2_cam\['{FRONTAL}'\] is not a 4 x 4 matrix"),
        (_undefined, rf"world_2_cam\['{FRONTAL}'\] is not a 4 x 4 matrix of finite numbers"),
        (_stretched, rf"world_2_cam\['{FRONTAL}'\] is not a rotation"),
        (_words, "intrinsics is not a 3 x 3 matrix"),
        (_no_focus, "'intrinsics' is not a camera matrix"),
        (_half, "'image_size' is not"),
        (_square, "100 x 100, and the frames have 64 x 48: another shape"),
    ],
)
def test_a_wrong_calibration_names_the_file_and_the_key(
    change: Callable[[dict], None], key: str, tmp_path: Path
) -> None:
    path = write_calibration(write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(1)}))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    data = NersembleDataset(tmp_path)
    with pytest.raises(DataError, match=rf"camera_params\.json.*{key}"):
        data.camera(SEQUENCE)
    assert data.read(SEQUENCE, 0).shape == (48, 64, 3)


@pytest.mark.parametrize("text", ["{", "[1, 2]", '{"intrinsics": []}'])
def test_a_calibration_that_is_no_mapping_is_named(text: str, tmp_path: Path) -> None:
    write_calibration(write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(1)})).write_text(text)
    with pytest.raises(DataError, match=r"camera_params\.json"):
        NersembleDataset(tmp_path).camera(SEQUENCE)


@pytest.mark.parametrize("entry", [None, [[1, 0, 0]], [[1, 0, 0, 0, 0, 0]] * 3, [[1, 0, float("inf")]] * 3, "red"])
def test_a_wrong_colour_matrix_names_the_file_and_the_camera(entry: object, tmp_path: Path) -> None:
    person = write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(1)})
    path = person / "calibration" / "color_calibration.json"
    path.write_text(json.dumps({} if entry is None else {FRONTAL: entry}))
    with pytest.raises(DataError, match=rf"color_calibration\.json.*'{FRONTAL}'"):
        NersembleDataset(tmp_path, colour=True).read(SEQUENCE, 0)


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside = write_videos(tmp_path / "outside", "019", "FREE", {FRONTAL: pictures(1)})
    root = tmp_path / "root"
    person = write_videos(root, "017", "FREE", {FRONTAL: pictures(1), LEFT: pictures(1)})
    (root / "019").symlink_to(outside)
    video = person / "sequences" / "FREE" / "images" / f"cam_{LEFT}.mp4"
    video.unlink()
    video.symlink_to(outside / "sequences" / "FREE" / "images" / f"cam_{FRONTAL}.mp4")
    calibration = person / "calibration" / "camera_params.json"
    calibration.unlink()
    calibration.symlink_to(outside / "calibration" / "camera_params.json")
    (person / "sequences" / "MORE").symlink_to("FREE")  # this one stays inside
    data = NersembleDataset(root)
    assert data.sequences() == [SEQUENCE, f"017_MORE_{FRONTAL}"]
    assert data.camera(SEQUENCE) is None
    assert any("is a link that leads out" in note for note in data.notes(SEQUENCE))
    (tmp_path / "link").symlink_to(root)
    assert NersembleDataset(tmp_path / "link").length(SEQUENCE) == 1


def test_a_mask_that_does_not_fit_its_frame_is_named(tmp_path: Path) -> None:
    write_split(tmp_path, {"501": pictures(1, size=(64, 64))[0]}, steps=3)
    folder = tmp_path / "501" / "sequences" / "FREE" / "masks" / f"cam_{FRONTAL}"
    Image.new("L", (32, 32)).save(folder / "frame_00000.webp", lossless=True)
    with pytest.raises(DataError, match="mask 0 is 32 x 32, the frame 64 x 64"):
        NersembleDataset(tmp_path).mask(f"501_FREE_{FRONTAL}", 0)
    (folder / "frame_00000.webp").unlink()
    with pytest.raises(DataError, match=r"has no mask frame_00000\.webp"):
        NersembleDataset(tmp_path).mask(f"501_FREE_{FRONTAL}", 0)


def test_a_subset_that_matches_nothing_says_what_there_is(tmp_path: Path) -> None:
    write_videos(tmp_path, "017", "FREE", {FRONTAL: pictures(1)})
    with pytest.raises(DataError, match=rf"no sequence like 9\*; it has {SEQUENCE}"):
        NersembleDataset(tmp_path, subset=("9*",))


def test_a_mask_that_is_a_link_out_of_the_folder_is_not_read(tmp_path: Path) -> None:
    face = pictures(1, size=(32, 32))[0]
    root = write_split(tmp_path / "data", {"501": face})
    mask = root / "501" / "sequences" / "PORTRAIT" / "masks" / f"cam_{FRONTAL}" / "frame_00000.webp"
    outside = tmp_path / "outside.webp"
    mask.rename(outside)
    mask.symlink_to(outside)
    with pytest.raises(DataError, match=r"no mask frame_00000\.webp, or only a link"):
        NersembleDataset(root).mask(f"501_PORTRAIT_{FRONTAL}", 0)
