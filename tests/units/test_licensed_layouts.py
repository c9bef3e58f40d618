"""The licensed sets' readers on generated heads in their layouts: the pictures are those of the test split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avatarbench import registry
from avatarbench.dataset import camera_of, frame_number_of, identity_of, mask_of
from avatarbench.datasets.check import check
from avatarbench.datasets.clips import RENAMED
from avatarbench.datasets.hdtf import HdtfDataset
from avatarbench.datasets.layouts import write_hdtf, write_nersemble, write_vfhq
from avatarbench.datasets.marks import MARK, data_mark
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.openheads import embedded_split
from avatarbench.datasets.vfhq import VfhqDataset
from avatarbench.errors import DataError, UsageError
from tests.units.nersemble_fixture import FRONTAL, pictures, write_calibration, write_videos

FREE = "501_FREE_222200037"


@pytest.fixture(scope="module")
def split() -> NersembleDataset:
    return NersembleDataset(embedded_split())


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two people in each layout, below a folder whose name is not ASCII."""
    folder = tmp_path_factory.mktemp("generated") / "köpfe 頭"
    found = {name: folder / name for name in ("vfhq", "hdtf", "v1", "v2")}
    write_vfhq(found["vfhq"], ("501", "502"), frames=3)
    write_hdtf(found["hdtf"], ("501", "502"), frames=3)
    write_nersemble(found["v1"], ("501",), "v1")
    write_nersemble(found["v2"], ("501",))
    return found


def test_clips_are_the_portrait_and_the_frontal_frames(roots: dict[str, Path], split: NersembleDataset) -> None:
    clips, videos = VfhqDataset(roots["vfhq"]), HdtfDataset(roots["hdtf"])
    assert clips.sequences() == [f"Clip_OpenHeads{n}_P0_C0_F0-2" for n in (501, 502)]
    assert videos.sequences() == [f"RD_OpenHeads{n}_000" for n in (501, 502)]
    for data in (clips, videos):
        name = data.sequences()[0]
        assert data.length(name) == 3
        expected = [split.read("501_PORTRAIT_222200037", 0), split.read(FREE, 0), split.read(FREE, 1)]
        for index in (2, 0, 1):
            assert np.array_equal(data.read(name, index), expected[index])
        assert frame_number_of(data, name, 2) == 2
        assert len({data.digest(s) for s in data.sequences()}) == 2
        with pytest.raises(DataError, match="has 3 frames; frame 3"):
            data.read(name, 3)
        data.close()
    assert identity_of(clips, clips.sequences()[0]) == "OpenHeads501+P0"
    assert identity_of(videos, videos.sequences()[0]) == "RD_OpenHeads501"
    assert clips.notes(clips.sequences()[0]) == [RENAMED]
    assert videos.notes(videos.sequences()[0]) == []


def test_v1_gives_the_pictures_steps_masks_and_cameras_of_v2(roots: dict[str, Path], split: NersembleDataset) -> None:
    older, newer = NersembleDataset(roots["v1"]), NersembleDataset(roots["v2"])
    assert older.sequences() == newer.sequences()
    assert older.length(FREE) == newer.length(FREE) == split.length(FREE)
    for data in (older, newer):
        assert np.array_equal(data.read(FREE, 2), split.read(FREE, 2))
        assert frame_number_of(data, FREE, 2) == frame_number_of(split, FREE, 2)
        mask, camera, true_camera = mask_of(data, FREE, 2), camera_of(data, FREE), camera_of(split, FREE)
        assert mask is not None
        assert camera is not None
        assert true_camera is not None
        assert np.array_equal(mask, split.mask(FREE, 2))
        assert np.array_equal(camera.K, true_camera.K)
        assert np.array_equal(camera.world_to_camera, true_camera.world_to_camera)
    assert newer.digest(FREE) == split.digest(FREE)


def test_v1_colours_follow_their_affine_map_and_small_alpha_maps_are_enlarged(tmp_path: Path) -> None:
    step = tmp_path / "018" / "sequences" / "HAIR" / "frame_00003"
    for folder, picture in (("images-2x", np.full((4, 6, 3), 100, np.uint8)), ("alpha_map", np.full((2, 3), 255))):
        (step / folder).mkdir(parents=True)
        Image.fromarray(picture.astype(np.uint8)).save(step / folder / "cam_222200037.png")
    maps = tmp_path / "018" / "annotations" / "HAIR" / "color_correction"
    maps.mkdir(parents=True)
    swap = np.array([[0, 1, 0, 0.1], [1, 0, 0, 0], [0, 0, 0.5, 0]])
    np.save(maps / "222200037.npy", swap)
    data = NersembleDataset(tmp_path, colour=True)
    name = f"018_HAIR_{FRONTAL}"
    assert data.read(name, 0)[0, 0].tolist() == [126, 100, 50]
    assert frame_number_of(data, name, 0) == 3
    mask = mask_of(data, name, 0)
    assert mask is not None
    assert (mask.shape, float(mask.min())) == ((4, 6), 1.0)
    np.save(maps / "222200037.npy", np.eye(2))
    with pytest.raises(DataError, match="not an affine map of colours"):
        data.read(name, 0)


def test_the_benchmarks_download_has_intrinsics_a_camera_and_alpha_maps(tmp_path: Path) -> None:
    person = write_videos(tmp_path / "mono_flame_avatar", "461", "EXP-1-head", {FRONTAL: pictures(2)})
    own = {FRONTAL: [[80.0, 0, 31], [0, 81, 24], [0, 0, 1]]}
    write_calibration(person, image_size=None, intrinsics=own)
    frames = person / "sequences" / "EXP-1-head"
    (frames / "alpha_maps").mkdir()
    (frames / "alpha_maps" / f"cam_{FRONTAL}.mp4").write_bytes((frames / "images" / f"cam_{FRONTAL}.mp4").read_bytes())
    (person / "sequences" / "FREE" / "tracking").mkdir(parents=True)
    data = NersembleDataset(tmp_path)
    name = f"461_EXP-1-head_{FRONTAL}"
    assert data.sequences() == [name]
    camera, mask = data.camera(name), data.mask(name, 1)
    assert camera is not None
    assert camera.K.tolist() == own[FRONTAL]
    assert mask is not None
    assert np.allclose(mask, data.read(name, 1)[..., 1] / 255)


def test_a_root_says_that_its_data_is_generated(roots: dict[str, Path], tmp_path: Path) -> None:
    assert {data_mark(root) for root in roots.values()} == {"openheads"}
    assert data_mark(tmp_path) is None
    above = roots["vfhq"].parent / "above"
    (above / "GT").mkdir(parents=True)
    shutil.copytree(roots["vfhq"], above / "GT" / "clips")
    shutil.copytree(roots["hdtf"], above / "hdtf" / "videos")
    assert data_mark(above) is None  # nothing is said of it until a reader has found where the clips lie
    assert data_mark(above, VfhqDataset(above).home) == "openheads"
    assert data_mark(above / "hdtf", HdtfDataset(above / "hdtf").home) == "openheads"
    assert check("vfhq", above, tmp_path / "manifest.json").mark == "openheads"
    (tmp_path / MARK).write_text(json.dumps({"data": 3}))
    with pytest.raises(DataError, match="where a name is expected"):
        data_mark(tmp_path)


def test_the_registered_sets_read_a_users_folder_and_say_how_to_get_one(roots: dict[str, Path]) -> None:
    for name, root in (("nersemble", "v2"), ("vfhq", "vfhq"), ("hdtf", "hdtf")):
        open_ = registry.load(registry.dataset(name).factory)
        assert open_(roots[root]).sequences()
        with pytest.raises(DataError, match=f"avatarbench data check {name} --root DIR"):
            open_(None)


def test_what_is_no_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        VfhqDataset(tmp_path / "none")
    with pytest.raises(DataError, match=r"looked for NAME\.mp4"):
        HdtfDataset(tmp_path)
    with pytest.raises(DataError, match="looked for Clip"):
        VfhqDataset(tmp_path)
    for home in ("GT/Interval1", "LQ/Interval1"):
        (tmp_path / home / "Clip+a+P0+C0+F0-9").mkdir(parents=True)
    with pytest.raises(DataError, match=r"in 2 folders \(GT/Interval1, LQ/Interval1\)"):
        VfhqDataset(tmp_path)
    with pytest.raises(DataError, match=r"holds no clips.*Passed over: Clip\+a\+P0\+C0\+F0-9 holds no frames"):
        VfhqDataset(tmp_path / "GT")
    with pytest.raises(DataError, match="name the folder above it"):
        VfhqDataset(tmp_path / "GT" / "Interval1" / "Clip+a+P0+C0+F0-9")


def test_clips_keep_their_numbers_and_tell_of_gaps(tmp_path: Path) -> None:
    clip = tmp_path / "GT" / "Interval1_512x512_LANCZOS4" / "Clip+x_Y-z+P1+C2+F10-12"
    clip.mkdir(parents=True)
    for number, picture in zip((10, 12), pictures(2), strict=True):
        Image.fromarray(picture).save(clip / f"{number:08d}.png")
    data = VfhqDataset(tmp_path)
    (name,) = data.sequences()
    assert name == "Clip_x_Y-z_P1_C2_F10-12"
    assert [data.frame_number(name, i) for i in range(2)] == [10, 12]
    assert "1 frame missing between 10 and 12" in data.notes(name)
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (clip.parent / "Clip+link+P0+C0+F0-1").symlink_to(outside)
    assert VfhqDataset(clip.parent).passed_over == ("Clip+link+P0+C0+F0-1 is a link that leads out of the folder",)


def test_writers_refuse_people_and_layouts_that_there_are_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no person 900; it has 501"):
        write_vfhq(tmp_path, ("900",))
    with pytest.raises(UsageError, match="v1 or v2"):
        write_nersemble(tmp_path, layout="v3")
    with pytest.raises(UsageError, match="at least its portrait"):
        write_hdtf(tmp_path, frames=0)
