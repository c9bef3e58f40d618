"""What ``avatarbench data prepare`` caches is what a run would have made of the original, whatever the way there."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from avatarbench import assets
from avatarbench.dataset import camera_of
from avatarbench.datasets.crop import Crop, paste_back
from avatarbench.datasets.hdtf import HdtfDataset
from avatarbench.datasets.imported_tracking import read_tracking, tracking_files
from avatarbench.datasets.layouts import write_hdtf, write_nersemble, write_vfhq
from avatarbench.datasets.licensed import hdtf, vfhq
from avatarbench.datasets.mattes import Matted
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.nersemble_tracking import BenchmarkTrack
from avatarbench.datasets.prepare import Prepared, prepare
from avatarbench.datasets.prepare_sequence import Origin
from avatarbench.datasets.prepared import PreparedDataset
from avatarbench.datasets.vfhq import VfhqDataset
from avatarbench.errors import DataError, UsageError
from avatarbench.method import Camera
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.protocol import FrameRef, ImageContract
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal
from avatarbench.run.local import FOLDER
from avatarbench.tracking.track_file import load_track
from tests.units.nersemble_fixture import FRONTAL, pictures, write_videos
from tests.units.test_vhap import export

FIRST = "Clip_OpenHeads501_P0_C0_F0-2"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """Two clips of three frames with mattes, below a folder whose name is not ASCII."""
    assets.pull("face-landmarker")
    folder = tmp_path_factory.mktemp("prepare") / "Köpfe 頭"
    write_vfhq(folder / "vfhq", ("501", "502"), frames=3, mattes=True)
    return Origin("vfhq", folder / "vfhq", folder / "mattes")


@pytest.fixture(scope="module")
def done(origin: Origin) -> tuple[Prepared, Path]:
    out = origin.root.parent / "cache"
    return prepare(origin, out), out


def bytes_of(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_run_on_the_prepared_folder_sees_the_pixels_of_one_on_the_original(
    origin: Origin, done: tuple[Prepared, Path], tmp_path: Path
) -> None:
    cached, original = vfhq(done[1]), origin.open()
    assert isinstance(cached, PreparedDataset)
    assert list(cached.sequences()) == list(original.sequences())
    contract = cached.contract
    assert (contract.size, contract.background) == (512, "black")
    engine = FeatureEngine(["face"], FeatureCache(None))
    with Journal(tmp_path / "a") as a, Journal(tmp_path / "b") as b:
        ours = Inputs({"vfhq": cached}, contract, engine, a)
        theirs = Inputs({"vfhq": original}, contract, engine, b)
        for index in (0, 2):
            ref = FrameRef("vfhq", FIRST, index, cached.digest(FIRST))
            assert np.array_equal(ours.image(ref), theirs.image(ref))
            mine, mask = ours.mask(ref), theirs.mask(ref)
            assert mine is not None
            assert mask is not None
            assert np.abs(mine - mask).max() <= 0.5 / 255 + 1e-6
        assert cached.crop(FIRST) == theirs.crop(ref)
    engine.close()
    assert cached.digest(FIRST) == original.digest(FIRST) != VfhqDataset(origin.root).digest(FIRST)
    assert (cached.length(FIRST), cached.identity(FIRST)) == (3, "OpenHeads501+P0")


def test_manifests_crops_and_tracking_are_kept_with_the_frames(done: tuple[Prepared, Path]) -> None:
    found, out = done
    assert set(found.manifests) == {"vfhq-self", "vfhq-cross"}
    assert found.manifests["vfhq-self"] == out / FOLDER / "vfhq-self.json"
    assert not found.failures
    assert any(note.startswith("vfhq-self: 2 of the 50 clips") for note in found.notes)
    cached = PreparedDataset(out, "vfhq")
    assert cached.indices(FIRST) == [0, 1, 2]
    track = load_track(out / "sequences" / FIRST / "track.npz")
    assert (len(track), track.size) == (3, (512, 512))
    crop, picture = cached.crop(FIRST), cached.read(FIRST, 0)
    canvas = np.zeros((256, 256, 3), np.uint8)
    pasted = paste_back(picture, crop, canvas)
    x, y, side = int(crop.x), int(crop.y), int(crop.side)
    small = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))
    assert np.array_equal(pasted[y : y + side, x : x + side], small)


def test_another_contract_a_frame_that_was_not_drawn_and_another_set_are_refused(done: tuple[Prepared, Path]) -> None:
    cached = PreparedDataset(done[1], "vfhq")
    assert cached.square(FIRST, cached.contract) == Crop(0, 0, 512)
    with pytest.raises(DataError, match="prepared with size 512, not 256"):
        cached.square(FIRST, ImageContract(size=256, background="black"))
    with pytest.raises(DataError, match="frame 7 is not among them"):
        cached.read(FIRST, 7)
    with pytest.raises(DataError, match="prepared from 'vfhq'"):
        hdtf(done[1])
    with pytest.raises(DataError, match="is prepared already"):
        Origin("vfhq", done[1]).open()


def test_an_interrupted_preparation_goes_on_and_ends_with_the_same_files(
    origin: Origin, done: tuple[Prepared, Path], tmp_path: Path
) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "preparing":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(origin, tmp_path / "cache", advance=stop)
    assert len(list((tmp_path / "cache" / "sequences").iterdir())) == 1
    half = tmp_path / "cache" / "sequences" / "Clip_OpenHeads502_P0_C0_F0-2" / "frames"
    half.mkdir(parents=True)
    (half / "000009.png").write_bytes(b"what a killed one left")
    again = prepare(origin, tmp_path / "cache")
    assert [outcome.made for outcome in again.outcomes] == [False, True]
    assert bytes_of(tmp_path / "cache") == bytes_of(done[1])

    picture = tmp_path / "cache" / "sequences" / FIRST / "frames" / "000001.png"
    shutil.copyfile(picture.with_name("000002.png"), picture)
    changed, whole = PreparedDataset(tmp_path / "cache", "vfhq"), PreparedDataset(done[1], "vfhq")
    assert [changed.digest(s) == whole.digest(s) for s in whole.sequences()] == [False, True]
    assert [outcome.made for outcome in prepare(origin, tmp_path / "cache").outcomes] == [True, False]
    assert bytes_of(tmp_path / "cache") == bytes_of(done[1])


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(origin: Origin, done: tuple[Prepared, Path], tmp_path: Path) -> None:
    prepare(origin, tmp_path / "cache", workers=2)
    assert bytes_of(tmp_path / "cache") == bytes_of(done[1])


def test_a_clip_whose_mattes_are_missing_fails_alone(origin: Origin, tmp_path: Path) -> None:
    mattes = tmp_path / "mattes"
    for clip in (origin.mattes or Path()).iterdir():
        (mattes / clip.name).mkdir(parents=True)
        for file in clip.iterdir():
            if (clip.name, file.name) != ("Clip+OpenHeads502+P0+C0+F0-2", "00000001.png"):
                (mattes / clip.name / file.name).write_bytes(file.read_bytes())
    matted = Matted(VfhqDataset(origin.root), mattes)
    with pytest.raises(DataError, match="has no matte of frame 1: its name should end in 00000001"):
        matted.mask("Clip_OpenHeads502_P0_C0_F0-2", 1)
    small = Image.fromarray(np.zeros((8, 8), np.uint8))
    small.save(mattes / "Clip+OpenHeads501+P0+C0+F0-2" / "00000001.png")
    with pytest.raises(DataError, match="is 8 x 8, the frame 256 x 256"):
        matted.mask(FIRST, 1)
    with pytest.raises(DataError, match="has mattes of no sequence"):
        Matted(VfhqDataset(origin.root), origin.root.parent)


def test_places_and_names_that_cannot_be_prepared_are_refused(origin: Origin, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lies in the data's own folder"):
        prepare(origin, origin.root / "cache")
    with pytest.raises(UsageError, match="no protocol draws from 'vhfq' by a rule, did you mean 'vfhq'"):
        prepare(Origin("vhfq", origin.root), tmp_path / "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="nothing can be written there"):
        prepare(origin, tmp_path / "file" / "cache")


def test_a_folder_that_was_prepared_in_another_way_is_left_as_it_is(
    origin: Origin, done: tuple[Prepared, Path]
) -> None:
    before = bytes_of(done[1])
    with pytest.raises(DataError, match="was prepared with another image: name another --out"):
        prepare(Origin("vfhq", origin.root), done[1])  # without mattes backgrounds are kept
    assert bytes_of(done[1]) == before


def test_video_mattes_and_alpha_channels_serve_too(tmp_path: Path) -> None:
    write_hdtf(tmp_path / "hdtf", ("501",), frames=2, mattes=True)
    data = HdtfDataset(tmp_path / "hdtf")
    (name,) = data.sequences()
    matted = Matted(data, tmp_path / "mattes")
    true = NersembleDataset(write_root(tmp_path / "v2")).mask(f"501_PORTRAIT_{FRONTAL}", 0)
    found = matted.mask(name, 0)
    assert np.array_equal(found, true)
    matted.close()
    (tmp_path / "mattes" / f"{name}.mp4").unlink()
    folder = tmp_path / "mattes" / name
    folder.mkdir()
    assert found is not None
    alpha = np.rint(found * 255).astype(np.uint8)
    Image.fromarray(np.dstack([np.zeros((256, 256, 3), np.uint8), alpha])).save(folder / "frame_000.png")
    assert np.array_equal(Matted(data, tmp_path / "mattes").mask(name, 0), found)


def write_root(root: Path) -> Path:
    write_nersemble(root, ("501",))
    return root


def test_vhap_frames_are_matched_by_number_and_cameras_scaled_to_the_frames(tmp_path: Path) -> None:
    person = write_videos(tmp_path / "data", "017", "EMO-1-shout+laugh", {FRONTAL: pictures(4, size=(250, 256))})
    folder = export(tmp_path / "vhap" / "017_EMO-1-shout+laugh_v16_DS4", frames=3, frame={"camera_id": FRONTAL})
    data, name = NersembleDataset(person.parent), f"017_EMO-1-shout+laugh_{FRONTAL}"
    assert tracking_files("vhap", tmp_path / "vhap", data, name) == [folder]
    found = read_tracking("vhap", folder, data, name, (0, 2, 3))
    assert list(found) == [0, 2]  # frame 3 is not tracked
    camera = found[2][1]
    assert (camera.width, camera.height, camera.K[0, 0], camera.K[1, 2]) == (256, 250, 500, 125)
    (tmp_path / "vhap" / "017_EMO-1-shout+laugh_v17").mkdir()
    with pytest.raises(DataError, match="leave one"):
        tracking_files("vhap", tmp_path / "vhap", data, name)
    with pytest.raises(DataError, match="name it with --tracking"):
        tracking_files("vhap", None, data, name)


def test_the_benchmarks_tracking_projects_as_its_own_provider_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    widths = {"expression": 100, "rotation": 3, "translation": 3, "jaw": 3, "neck": 3, "eyes": 6}
    values = {key: rng.normal(0, 0.3, (3, width)).astype(np.float32) for key, width in widths.items()}
    values |= {"shape": np.zeros((1, 300), np.float32), "scale": np.full((1, 1), 1.7, np.float32)}
    values["frames"] = np.array([4, 6, 8])
    path = tmp_path / "flame2023_tracking_v2.npz"
    np.savez(path, **values)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("y", 20, degrees=True).as_matrix()
    pose[:3, 3] = 0.1, -0.2, 3
    camera = Camera(np.array([[700.0, 0, 256], [0, 710, 250], [0, 0, 1]]), pose, 512, 512)
    track = BenchmarkTrack(path)
    assert track.steps == [4, 6, 8]
    flame, seen_by = track.frame(1, camera)
    points = rng.normal(0, 0.1, (20, 3))
    turn = Rotation.from_euler("XYZ", values["rotation"][1].astype(np.float64)).as_matrix()
    world = 1.7 * points @ turn.T + values["translation"][1]  # FlameProvider.apply_model_to_world_transformation
    assert np.allclose(project(world, camera), project(points, seen_by), atol=1e-6)
    assert not flame.rotation.any()
    assert np.array_equal(flame.jaw_pose, values["jaw"][1])
    np.savez(path, **(values | {"neck": np.zeros((2, 3))}))
    with pytest.raises(DataError, match=r"'neck' has shape \(2, 3\), where \(3, 3\) is expected"):
        BenchmarkTrack(path)


def project(points: np.ndarray, camera: Camera) -> np.ndarray:
    seen = points @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    pixels = seen @ camera.K.T
    return pixels[:, :2] / pixels[:, 2:]


def test_imported_tracking_and_cameras_end_up_in_the_square(tmp_path: Path) -> None:
    assets.pull("face-landmarker")
    root = write_root(tmp_path / "data")
    for side in ("222200036", "222200038"):
        shutil.rmtree(root / "501" / "sequences" / "FREE" / "images" / f"cam_{side}")
    free = f"501_FREE_{FRONTAL}"
    data = NersembleDataset(root)
    numbers = [data.frame_number(free, index) for index in range(data.length(free))]
    folder = export(tmp_path / "vhap" / "501_FREE_v1", frames=len(numbers), frame={"w": 256, "h": 256})
    content = json.loads((folder / "transforms.json").read_text())
    for frame, number in zip(content["frames"], numbers, strict=True):
        frame["timestep_index"] = number
    (folder / "transforms.json").write_text(json.dumps(content))
    found = prepare(Origin("nersemble", root, None, "vhap", tmp_path / "vhap"), tmp_path / "cache")
    assert "nersemble-self" in found.manifests
    assert "nersemble-cross" in found.unresolved
    cached = PreparedDataset(tmp_path / "cache", "nersemble")
    index = cached.indices(free)[0]
    tracked, camera, whole = cached.flame(free, index), cached.camera(free), camera_of(data, free)
    assert tracked is not None
    assert camera is not None
    assert whole is not None
    crop = cached.crop(free)
    assert np.isclose(camera.K[0, 0], whole.K[0, 0] * 512 / crop.side)
    assert np.isclose(tracked[1].K[0, 2], (256.0 - crop.x) * 512 / crop.side)
    assert cached.frame_number(free, index) == numbers[index]
    assert f"501_FREE_{FRONTAL}" not in [o.sequence for o in found.failures]
