"""What fits learn from: OpenHeads with its truth, and VHAP exports on FLAME, made here with a synthetic FLAME."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from avatarbench.datasets.images import write_png
from avatarbench.datasets.openheads import embedded_split
from avatarbench.errors import AvatarbenchError, DataError, UsageError
from avatarbench.fitting import nersemble, openheads
from avatarbench.fitting.config import Densify, Density, FitConfig
from avatarbench.fitting.config import Rates as GaussianRates
from avatarbench.fitting.fit import Fit, Stop
from avatarbench.fitting.held_out import pixels
from avatarbench.fitting.nersemble import Rates, VhapSubject
from avatarbench.fitting.openheads import OpenHeadsSubject
from avatarbench.fitting.run import device_of, fit_person, open_subject, training_views
from avatarbench.fitting.subject import sized
from avatarbench.fitting.turntable import orbit, turntable
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import GaussianHead, load_head
from avatarbench.gaussians.render import render
from avatarbench.heads import flame_file
from avatarbench.heads.decimate import Decimated, decimate
from avatarbench.heads.flame import FlameRig, load_flame
from avatarbench.heads.rig import Rig, rotation_matrix
from avatarbench.method import Camera
from avatarbench.tracking.vhap import OPENGL
from tests.synthetic_flame import VERTICES, flame_arrays
from tests.units.nersemble_fixture import FRONTAL

CPU = torch.device("cpu")
TIMES, CAMERAS, SIZE = 3, (FRONTAL, "222200042"), (36, 48)  # height, width


@dataclass(frozen=True)
class Synthetic:
    rig: FlameRig
    small: Decimated
    pictures: dict[tuple[int, int], np.ndarray]  # by time and camera, on white


@pytest.fixture(scope="module")
def flame(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synthetic]:
    """A synthetic FLAME, imported, whose first expression moves the lower face by centimetres; and its pictures."""
    arrays: dict[str, Any] = flame_arrays()
    lower = np.clip(-arrays["v_template"][:, 1:2] / 0.13, 0, 1)
    arrays["shapedirs"][..., 300] = lower * (0.01, -0.02, 0.03)
    arrays["shapedirs"][..., 301:] = 0
    arrays["J_regressor"] = arrays["J_regressor"].toarray()
    folder = tmp_path_factory.mktemp("flame")
    np.savez(folder / "flame.npz", **{k: v for k, v in arrays.items() if not k.startswith("bs")})
    copy = folder / "flame.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flame_file, "default_path", lambda: copy)
        flame_file.import_flame(folder / "flame.npz", copy)
        rig = load_flame(teeth=True)
        small = decimate(rig, 150)
        # The same rig again and again: reading and decimating it costs a second each time.
        patch.setattr(nersemble, "load_flame", lambda teeth: rig)
        patch.setattr(nersemble, "decimate", lambda rig, count: small)
        yield Synthetic(rig, small, _pictures(rig, small))


def camera(index: int) -> Camera:
    square = orbit((0.0, 0.5)[index], SIZE[1], height=0.0, y_up=True)
    k = square.K.copy()
    k[1, 2] = SIZE[0] / 2
    return Camera(k, square.world_to_camera, SIZE[1], SIZE[0])


def parameters(time: int) -> dict[str, np.ndarray]:
    found = {"translation": np.array([[0, 0.002 * time, 0]]), "rotation": np.array([[0, 0.05 * time, 0]])}
    found |= {"neck_pose": np.zeros((1, 3)), "jaw_pose": np.array([[0.1, 0, 0]]), "eyes_pose": np.zeros((1, 6))}
    found |= {"shape": np.zeros(300), "expr": np.eye(1, 100) * time, "static_offset": np.zeros((1, VERTICES, 3))}
    found["static_offset"][..., 1] = 1e-3
    return {key: value.astype(np.float32) for key, value in found.items()}


def _pictures(rig: FlameRig, small: Decimated) -> dict[tuple[int, int], np.ndarray]:
    rest = small.vertices(rig.template)[small.faces].mean(1)
    count = len(rest)
    cloud = Cloud(
        rest + torch.tensor([0, 1e-3, 0]),
        torch.tensor([1.0, 0, 0, 0]).repeat(count, 1),
        torch.full((count, 3), 0.008),
        torch.full((count,), 0.95),
        (rest * 6 + 0.5).clamp(0, 1),
        torch.arange(count),
    )
    offsets = torch.zeros(len(rig.template), 3)
    offsets[:VERTICES, 1] = 1e-3
    head = GaussianHead(cloud, rig, torch.zeros(300), small, offsets)
    found = {}
    for time in range(TIMES):
        p = {key: torch.from_numpy(value[0]) for key, value in parameters(time).items() if key != "shape"}
        turns = torch.cat([p["rotation"], p["neck_pose"], p["jaw_pose"], p["eyes_pose"]]).view(5, 3)
        posed = head.posed(p["expr"], turns, p["translation"])
        for index in range(len(CAMERAS)):
            image = render(posed, [camera(index)], background=torch.ones(3)).image[0]
            found[time, index] = pixels(image.numpy())
    return found


def export(
    folder: Path, flame: Synthetic, pictures: bool = True, first: int = 0, **changes: np.ndarray
) -> list[dict[str, Any]]:
    """Write a VHAP export; its frames. ``changes``: of every time step's parameters."""
    (folder / "flame_param").mkdir(parents=True)
    frames = []
    for (time, index), picture in flame.pictures.items():
        np.savez(folder / "flame_param" / f"{time:05d}.npz", **(parameters(time) | changes))
        if pictures:
            write_png_in(folder / "images" / f"{time:05d}_{index:02d}.png", picture)
        at = camera(index)
        frames.append(
            {
                "timestep_index": first + time,
                "timestep_id": f"frame_{time:05d}",
                "camera_index": index,
                "camera_id": CAMERAS[index],
                **{"cx": at.K[0, 2], "cy": at.K[1, 2], "fl_x": at.K[0, 0], "fl_y": at.K[1, 1]},
                **{"w": at.width, "h": at.height},
                "transform_matrix": (np.linalg.inv(at.world_to_camera) @ OPENGL).tolist(),
                "file_path": f"images/{time:05d}_{index:02d}.png",
                "flame_param_path": f"flame_param/{time:05d}.npz",
            }
        )
    write_json(folder / "transforms.json", frames)
    return frames


def write_json(path: Path, frames: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"frames": frames}))


def write_png_in(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    write_png(path, image)


def config(steps: int = 30, **changes: Any) -> FitConfig:
    values: dict[str, Any] = {
        "steps": steps, "degree": None, "faces": 150, "points": 200, "refine": True, "checkpoint_every": 10,
        "density": Density(enabled=False), "densify": Densify(start=0, stop=0),
        "rates": GaussianRates(means=(2e-2, 2e-3), scales=5e-2, opacities=0.1, colours=0.1),
    }  # fmt: skip
    return FitConfig(**values | changes)


def test_an_exports_views_cameras_and_meshes_are_what_was_tracked(tmp_path: Path, flame: Synthetic) -> None:
    folder = tmp_path / "306_EMO-1_v16_DS4_whiteBg"
    export(folder, flame)
    subject = open_subject(folder, "306", config(faces=None, refine=False))
    assert [str(v) for v in subject.views[:3]] == [
        f"EMO-1/00000/{FRONTAL}", "EMO-1/00000/222200042", f"EMO-1/00001/{FRONTAL}",
    ]  # fmt: skip
    assert not any(v.held for v in subject.views)
    assert np.array_equal(pixels(subject.image(3).numpy()), flame.pictures[1, 1])
    np.testing.assert_allclose(subject.camera(3).world_to_camera, camera(1).world_to_camera, atol=1e-12)
    p = {key: torch.from_numpy(value) for key, value in parameters(2).items()}
    turns = torch.cat([p["rotation"], p["neck_pose"], p["jaw_pose"], p["eyes_pose"]], 1).view(1, 5, 3)
    offsets = torch.nn.functional.pad(p["static_offset"][0], (0, 0, 0, 120))
    posed = flame.rig(p["shape"][None], p["expr"], rotation_matrix(turns), p["translation"], offsets)
    torch.testing.assert_close(subject.vertices(4), posed.vertices[0])
    motion = subject.motion(4)
    for found, wanted in zip(motion, (p["expr"][0], turns[0], p["translation"][0]), strict=True):
        assert torch.equal(found, wanted)
    assert subject.refinements() == []
    assert subject.rest().shape == (VERTICES + 120, 3)


def test_pictures_shrink_to_their_longer_side_and_cameras_with_them(tmp_path: Path, flame: Synthetic) -> None:
    export(tmp_path / "export", flame)
    subject = VhapSubject(tmp_path, "306", tmp_path / "export", faces=150, size=24)
    assert subject.image(0).shape == (18, 24, 3)
    found = subject.camera(0)
    assert (found.width, found.height) == (24, 18)
    np.testing.assert_allclose(found.K[:2], camera(0).K[:2] / 2)
    assert sized(camera(0), None) is not sized(camera(0), 24)


def test_a_mask_puts_a_picture_on_white_and_leaves_one_that_is(tmp_path: Path, flame: Synthetic) -> None:
    frames = export(tmp_path / "export", flame)
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[:, 10:20] = 255
    mask[:, 20] = 51
    for time in (0, 1):
        write_png_in(tmp_path / "export" / "fg_masks" / f"{time}.png", mask)
        for frame in frames:
            frame["fg_mask_path"] = f"fg_masks/{min(frame['timestep_index'], 1)}.png"
    grey = np.full((*SIZE, 3), 100, np.uint8)
    write_png(tmp_path / "export" / "images" / "00000_00.png", grey)
    plain = grey.copy()
    plain[mask[..., 0] == 0] = 255
    write_png(tmp_path / "export" / "images" / "00001_00.png", plain)
    write_json(tmp_path / "export" / "transforms.json", frames)
    subject = VhapSubject(tmp_path, "306", tmp_path / "export", faces=150)
    assert set(pixels(subject.image(0).numpy())[0, :, 0].tolist()) == {255, 100, 224}  # 0.2 x 100 + 0.8 x 255
    assert np.array_equal(pixels(subject.image(2).numpy()), plain)


def test_an_exports_own_division_keeps_validation_and_test_from_training(tmp_path: Path, flame: Synthetic) -> None:
    folder = tmp_path / "export"
    frames = export(folder, flame)
    write_json(folder / "transforms_train.json", [f for f in frames if f["camera_index"] == 0])
    write_json(folder / "transforms_val.json", [])
    write_json(folder / "transforms_test.json", [f for f in frames if f["camera_index"] == 1])
    subject = open_subject(tmp_path, "306", config(), folder)
    assert {(v.camera, v.held) for v in subject.views} == {(FRONTAL, False), ("222200042", True)}
    assert training_views(subject, config(), (), ()) == [0, 1, 2]
    assert training_views(subject, config(frames=2), (), ()) == [0, 2]


def test_combined_exports_are_read_from_the_folder_that_holds_them_all(tmp_path: Path, flame: Synthetic) -> None:
    union, combined = tmp_path / "306_UNION", []
    for number, take in enumerate(("EMO-1", "EXP-2")):
        name = f"306_{take}_v16"
        for frame in export(tmp_path / name, flame, first=TIMES * number):
            moved = {key: f"../{name}/{frame[key]}" for key in ("file_path", "flame_param_path")}
            combined.append({**frame, **moved})
    write_json(union / "transforms_train.json", combined)
    subject = open_subject(tmp_path, "306", config(), union)
    assert sorted({(v.take, v.step) for v in subject.views}) == [
        *(("EMO-1", step) for step in range(3)), *(("EXP-2", step) for step in range(3, 6)),
    ]  # fmt: skip
    assert np.array_equal(pixels(subject.image(7).numpy()), flame.pictures[0, 1])
    with pytest.raises(DataError, match="combines the exports beside it: give the folder above it as DATA"):
        open_subject(union, "306", config())
    shutil.rmtree(tmp_path / "306_EXP-2_v16")
    with pytest.raises(DataError, match=r"'flame_param_path' of frame 6 names .* is not there"):
        open_subject(tmp_path, "306", config(), union)


@pytest.mark.parametrize(
    ("name", "take", "recorded"),
    [
        ("306_EMO-1_v16_DS4_whiteBg_staticOffset_maskBelowLine", "EMO-1", "EMO-1-shout+laugh"),
        ("306_EXP-1_v16_DS2-0.5x_lmkSTAR_teethV3", "EXP-1", "EXP-1-head"),
        ("306_SEN-10-port_strong_smokey_v16_DS4_whiteBg", "SEN-10-port_strong_smokey", "SEN-10-port_strong_smokey"),
        ("306_FREE_DS4", "FREE", "FREE"),
        ("306_EXP-3-cheeks+nose", "EXP-3-cheeks+nose", "EXP-3-cheeks+nose"),
    ],
)
def test_pictures_that_an_export_lacks_come_from_the_recording_that_its_name_begins(
    tmp_path: Path, flame: Synthetic, name: str, take: str, recorded: str
) -> None:
    root = tmp_path / "data"
    export(tmp_path / name, flame, pictures=False)
    for other in ("EMO-10-other", "EXP-10-other", "SEN-1-other"):
        write_recording(root, other, flame, 1)
    write_recording(root, recorded, flame)
    subject = open_subject(root, "306", config(), tmp_path / name)
    assert {v.take for v in subject.views} == {take}
    assert np.array_equal(pixels(subject.image(5).numpy()), flame.pictures[2, 1])


def write_recording(root: Path, take: str, flame: Synthetic, times: int = TIMES) -> None:
    for index, serial in enumerate(CAMERAS):
        at = root / "306" / "sequences" / take / "images" / f"cam_{serial}"
        at.mkdir(parents=True)
        for time in range(times):
            write_png(at / f"frame_{time:05d}.png", flame.pictures[time, index])


def test_a_recording_that_is_not_the_one_tracked_is_named(tmp_path: Path, flame: Synthetic) -> None:
    root, folder = tmp_path / "data", tmp_path / "306_EMO-1_v16"
    export(folder, flame, pictures=False)
    write_recording(root, "EMO-1-shout+laugh", flame)
    write_recording(root, "EMO-1-surprise", flame, 1)
    with pytest.raises(DataError, match=r"has EMO-1-shout\+laugh, EMO-1-surprise of person '306', .* 306_EMO-1-shout"):
        open_subject(root, "306", config(), folder)
    for take in ("EMO-1-shout+laugh", "EMO-1-surprise"):
        shutil.rmtree(root / "306" / "sequences" / take)
    write_recording(root, "EMO-1", flame)
    (root / "306" / "sequences" / "EMO-1" / "images" / f"cam_{FRONTAL}" / "frame_00002.png").unlink()
    with pytest.raises(DataError, match=r"has no frame 2, which .*transforms\.json tracks"):
        open_subject(root, "306", config(), folder)
    shutil.rmtree(root / "306" / "sequences" / "EMO-1" / "images" / "cam_222200042")
    with pytest.raises(
        DataError, match=r"names images/00000_01\.png, which is not there, and it is not found in the data"
    ):
        open_subject(root, "306", config(), folder)
    with pytest.raises(
        DataError, match=r"names images/00000_00\.png, which is not there, and it is not found in the data"
    ):
        open_subject(folder, "306", config())


def test_a_refined_fit_mends_a_wrong_track_and_one_that_may_not_cannot(tmp_path: Path, flame: Synthetic) -> None:
    """Every time step was tracked with the first one's expression; the pictures say that it was 0, 1 and 2."""
    folder = tmp_path / "306_EMO-1"
    export(folder, flame, expr=np.zeros((1, 100), np.float32))
    found = {}
    for refine in (False, True):
        rates = Rates(expression=0.05)  # faster, for a fit of few steps
        subject = VhapSubject(tmp_path, "306", folder, faces=150, refine=refine, rates=rates)
        fit = Fit(subject, range(len(subject)), config(55, refine=refine), CPU)
        fit.run(lambda progress: None)
        error = torch.stack([(fit.picture(n) - subject.image(n)).square().mean() for n in range(len(subject))])
        found[refine] = float(-10 * error.mean().log10()), subject.expression[:, 0].tolist()
    assert found[False][1] == [0, 0, 0]
    assert found[True][0] > found[False][0] + 0.5
    first, second, third = found[True][1]
    assert first + 0.15 < second
    assert second + 0.15 < third


def test_refinement_goes_on_exactly_from_a_checkpoint(tmp_path: Path, flame: Synthetic) -> None:
    export(tmp_path / "export", flame)

    def start() -> tuple[VhapSubject, Fit]:
        subject = VhapSubject(tmp_path, "306", tmp_path / "export", faces=150, refine=True)
        return subject, Fit(subject, range(len(subject)), config(8), CPU)

    subject, whole = start()
    cloud = whole.run(lambda progress: None)
    _, part = start()
    for _ in range(3):
        part._one_step()
    part.save(tmp_path / "checkpoint.pt")
    again, resumed = start()
    resumed.load(tmp_path / "checkpoint.pt")
    after = resumed.run(lambda progress: None)
    for name, value in vars(cloud).items():
        assert torch.equal(getattr(after, name), value), name
    for name in ("expression", "pose", "translation"):
        assert torch.equal(getattr(again, name), getattr(subject, name)), name
    assert not torch.equal(again.pose, torch.zeros_like(again.pose))


def test_a_head_on_flame_with_teeth_comes_back_from_its_file(tmp_path: Path, flame: Synthetic) -> None:
    export(tmp_path / "export", flame)
    subject = VhapSubject(tmp_path, "306", tmp_path / "export", faces=None)
    fit = Fit(subject, [0], config(1, points=None), CPU)
    head = fit.head()
    assert len(head.cloud) == len(head.faces) == 9976 + 168
    head.save(tmp_path / "head.avatar")
    loaded = load_head(tmp_path / "head.avatar")
    assert loaded.rig.name == "flame-teeth"
    expression, turns = torch.eye(1, 100)[0], torch.full((5, 3), 0.1)
    ours, theirs = (h.posed(expression, turns, torch.ones(3)) for h in (head, loaded))
    torch.testing.assert_close(ours.means, theirs.means, rtol=0, atol=1e-5)


def test_a_person_tracked_by_vhap_becomes_a_head_that_turns_and_speaks(tmp_path: Path, flame: Synthetic) -> None:
    export(tmp_path / "306_EMO-1", flame)
    fit = fit_person(tmp_path / "306_EMO-1", "306", tmp_path / "out", config(6), video=False)
    record = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert (record["rig"], record["views"], record["held_out"]) == ("flame-teeth", 6, {"cameras": [], "sequences": []})
    assert record["steps"] == 6
    head = load_head(tmp_path / "out" / "head.avatar")
    torch.testing.assert_close(head.cloud.means, fit.head().cloud.means)
    turntable(head, tmp_path / "turn.mp4", size=32, frames=4, beat=4)
    with av.open(str(tmp_path / "turn.mp4")) as video:
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in video.decode(video=0)]
    assert len(shown) == 4 + 4 * 4
    assert all(frame.min() < 240 for frame in shown)  # the head is in every picture
    assert np.abs(shown[4] - shown[0]).max() < 40  # a face begins at the neutral front
    assert np.abs(shown[10] - shown[0]).max() > 40  # and is another in its middle


def test_what_a_fit_of_an_export_is_made_of_changes_with_its_bytes_alone(tmp_path: Path, flame: Synthetic) -> None:
    folder = tmp_path / "306_EMO-1"
    frames = export(folder, flame)

    def sources() -> dict[str, str]:
        return dict(VhapSubject(tmp_path, "306", folder, faces=150).sources([2, 3]))

    seen = [sources()]
    write_png(folder / "images" / "00000_00.png", np.zeros((*SIZE, 3), np.uint8))  # not learnt from
    np.savez(folder / "flame_param" / "00002.npz", **(parameters(2) | {"expr": np.ones((1, 100), np.float32)}))
    assert sources() == seen[0]
    write_png(folder / "images" / "00001_00.png", np.zeros((*SIZE, 3), np.uint8))
    seen.append(sources())
    write_json(folder / "transforms.json", [{**frame, "fl_x": frame["fl_x"] + 1} for frame in frames])
    seen.append(sources())
    for time in (1, 0):  # a time step that is learnt from, and the first, whose shape is everybody's
        np.savez(folder / "flame_param" / f"{time:05d}.npz", **(parameters(time) | {"shape": np.ones(300, np.float32)}))
        seen.append(sources())
    assert changes(seen) == [{"pictures"}, {"cameras"}, {"tracking"}, {"tracking"}]


def changes(seen: list[dict[str, str]]) -> list[set[str]]:
    return [{key for key in a if a[key] != b[key]} for a, b in itertools.pairwise(seen)]


def test_a_fit_of_recordings_knows_when_they_change(tmp_path: Path, flame: Synthetic) -> None:
    root, folder = tmp_path / "data", tmp_path / "306_EMO-1_v16"
    export(folder, flame, pictures=False)
    write_recording(root, "EMO-1-shout+laugh", flame)
    before = dict(open_subject(root, "306", config(), folder).sources([0]))
    again = root / "306" / "sequences" / "EMO-1-shout+laugh" / "images" / f"cam_{FRONTAL}" / "frame_00000.png"
    write_png(again, np.zeros((*SIZE, 3), np.uint8))
    assert changes([before, dict(open_subject(root, "306", config(), folder).sources([0]))]) == [{"pictures"}]


def test_a_checkpoint_does_not_go_on_with_other_pictures_or_tracking(tmp_path: Path, flame: Synthetic) -> None:
    folder, out = tmp_path / "306_EMO-1", tmp_path / "out"
    export(folder, flame)

    def stop(progress: object) -> None:
        raise Stop

    with pytest.raises(Stop):
        fit_person(folder, "306", out, config(6), stop, video=False)
    picture = folder / "images" / "00001_01.png"
    whole = picture.read_bytes()
    write_png(picture, np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(DataError, match=r"is of another fit \(pictures: \w{16} there, \w{16} here\)\. Choose another"):
        fit_person(folder, "306", out, config(6), video=False)
    picture.write_bytes(whole)
    np.savez(folder / "flame_param" / "00001.npz", **(parameters(1) | {"expr": np.ones((1, 100), np.float32)}))
    with pytest.raises(DataError, match=r"is of another fit \(tracking: "):
        fit_person(folder, "306", out, config(6), video=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"static_offset": np.zeros((1, 77, 3), np.float32)}, "'static_offset' has 77 vertices; FLAME has 5023"),
        ({"expr": np.full((1, 100), np.nan, np.float32)}, "'expr' holds NaN"),
    ],
)
def test_tracking_that_does_not_fit_flame_is_named(
    tmp_path: Path, flame: Synthetic, change: dict[str, np.ndarray], message: str
) -> None:
    export(tmp_path / "export", flame, **change)
    with pytest.raises(DataError, match=message):
        open_subject(tmp_path, "306", config(), tmp_path / "export")


def test_an_export_of_somebody_else_or_with_other_pictures_is_refused(tmp_path: Path, flame: Synthetic) -> None:
    folder = tmp_path / "306_EMO-1"
    export(folder, flame)
    with pytest.raises(DataError, match=r"has no person '307': it tracks '306'"):
        open_subject(folder, "307", config())
    write_png(folder / "images" / "00000_00.png", np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(DataError, match=r"is 20 x 20, and .* has a camera of 48 x 36"):
        open_subject(folder, "306", config()).image(0)


def test_openheads_meshes_follow_the_truth_and_pictures_come_from_every_camera() -> None:
    subject = OpenHeadsSubject(embedded_split(), "501", faces=300, size=32)
    view = next(n for n, v in enumerate(subject.views) if v.camera == FRONTAL)
    image, at = subject.image(view), subject.camera(view)
    assert image.shape == (at.height, at.width, 3) == (32, 32, 3)
    points = subject.vertices(view).numpy() @ at.world_to_camera[:3, :3].T + at.world_to_camera[:3, 3]
    seen = points @ at.K.T
    column, row = (seen[:, :2] / seen[:, 2:]).mean(0)
    drawn = np.argwhere((image.numpy() < 0.9).any(axis=2)).mean(0)
    assert np.abs(drawn - (row, column)).max() < 5  # the mesh is where the picture's head is
    assert not any("-AS-" in v.take for v in subject.views)
    still = subject.rest()
    assert subject.vertices(view).shape == still.shape
    assert float((subject.vertices(view) - still).abs().max()) > 1e-3


def test_a_process_decimates_once_for_all_openheads_people(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def decimated(rig: Rig, count: int) -> Decimated:
        counts.append(count)
        return Decimated(rig.faces[:count], torch.zeros(1, 3).long(), torch.full((1, 3), 1 / 3))

    monkeypatch.setattr(openheads, "decimate", decimated)
    openheads._decimated.cache_clear()
    subjects = [OpenHeadsSubject(embedded_split(), person, faces) for person, faces in (("501", 30), ("502", 30))]
    subjects.append(OpenHeadsSubject(embedded_split(), "501", 40))
    try:
        assert [len(subject.faces) for subject in subjects] == [30, 30, 40]
        assert counts == [30, 40]
    finally:
        openheads._decimated.cache_clear()


def test_what_a_fit_of_openheads_is_made_of_changes_with_its_bytes(tmp_path: Path) -> None:
    split, person = embedded_split(), tmp_path / "501"
    take = next(path for path in sorted((split / "501" / "sequences").iterdir()) if "-AS-" not in path.name)
    shutil.copytree(take, person / "sequences" / take.name)
    shutil.copytree(split / "501" / "calibration", person / "calibration")
    shutil.copy(split / "501" / "identity.json", person / "identity.json")

    def sources() -> dict[str, str]:
        subject = OpenHeadsSubject(tmp_path, "501", 100, 32)
        return dict(subject.sources(range(len(subject))))

    seen = [sources(), sources()]
    first, second = sorted(next((person / "sequences" / take.name / "images").iterdir()).iterdir())[:2]
    first.write_bytes(second.read_bytes())
    seen.append(sources())
    for name in ("calibration/camera_params.json", "identity.json"):
        (person / name).write_text((person / name).read_text() + "\n")
        seen.append(sources())
    truth = person / "sequences" / take.name / "truth.npz"
    with np.load(truth, allow_pickle=False) as found:
        moved = {key: found[key] for key in found.files}
    np.savez(truth, **moved | {"translation": moved["translation"] + np.float32(1e-3)})
    seen.append(sources())
    pictures, truths = {"pictures and cameras"}, {"truth and shape"}
    assert changes(seen) == [set(), pictures, pictures, truths, truths]


@pytest.mark.parametrize(
    ("root", "person", "message"),
    [
        ("split", "600", "has no person '600'; it has 501, 502"),
        ("split", "../501", "'../501' is no person's name"),
        ("none", "501", "does not exist"),
        ("bare", "501", "has no truth.npz in its sequences, so it is no OpenHeads person: name a VHAP export"),
        ("lost", "501", "identity.json cannot be read"),
        ("blind", "501", "has no calibration/camera_params.json: a fit needs calibrated cameras"),
        ("cut", "501", r"truth\.npz cannot be read"),
    ],
)
def test_data_that_cannot_be_fitted_is_named(tmp_path: Path, root: str, person: str, message: str) -> None:
    split = embedded_split()
    folder = split if root == "split" else tmp_path / root
    if root not in ("split", "none"):
        take = next(path for path in sorted((split / "501" / "sequences").iterdir()) if "-AS-" not in path.name)
        shutil.copytree(take, folder / "501" / "sequences" / take.name)
        for name in ("identity.json", "calibration/camera_params.json"):
            (folder / "501" / name).parent.mkdir(exist_ok=True)
            shutil.copy(split / "501" / name, folder / "501" / name)
        truth = folder / "501" / "sequences" / take.name / "truth.npz"
        if root == "bare":
            truth.unlink()
        elif root == "cut":
            truth.write_bytes(truth.read_bytes()[:200])
        else:
            (folder / "501" / {"lost": "identity.json", "blind": "calibration/camera_params.json"}[root]).unlink()
    with pytest.raises(AvatarbenchError, match=message):
        open_subject(folder, person, config())


def test_a_device_that_is_not_here_is_an_error_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for name, message in (("cuda", "torch sees no CUDA"), ("gpu", "is no device"), ("meta", "on cpu or cuda")):
        with pytest.raises(UsageError, match=message):
            device_of(config(device=name))
    assert device_of(config(device="cpu")) == CPU
