"""gaussian-fit: known shapes are tracked exactly, held-out recordings are not learnt from, equal inputs fit once."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avatarbench import registry
from avatarbench.capability import obstacle
from avatarbench.datasets.nersemble import AVATAR, NersembleDataset
from avatarbench.datasets.openheads import openheads
from avatarbench.errors import DataError, Unscorable
from avatarbench.fitting.config import FitConfig
from avatarbench.fitting.fit import Fit
from avatarbench.fitting.openheads import OpenHeadsSubject
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import GaussianHead, load_head
from avatarbench.gaussians.render import render
from avatarbench.heads.anny import load_anny
from avatarbench.heads.decimate import decimate
from avatarbench.heads.rig import rotation_matrix
from avatarbench.method import Camera, FaceTrack, Motion, Portrait, Views
from avatarbench.methods.gaussian_fit import fitted as fitted_module
from avatarbench.methods.gaussian_fit.fitted import fitted
from avatarbench.methods.gaussian_fit.method import FittedHead, GaussianFit
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.metrics.face import ARKIT_NAMES
from avatarbench.openheads import fits
from avatarbench.openheads.identity import draw
from avatarbench.openheads.layout import write_json, write_truth
from avatarbench.openheads.split import NUMBERS
from avatarbench.openheads.state import HeadState
from avatarbench.openheads.views import CAMERAS, MOMENTS
from avatarbench.protocol import FrameRef, ImageContract
from avatarbench.run.config import FramesConfig, RunConfig
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal
from avatarbench.run.plan import held_out, make_manifest
from avatarbench.run.preflight import Preflight, check_views
from avatarbench.tracking.anny_fit import MEDIAPIPE, fit_pose, front_camera
from avatarbench.tracking.correspondence import load_correspondence
from avatarbench.tracking.face_model import HEAD, FaceModel, known_face
from tests.units.nersemble_fixture import FRONTAL, LEFT, RIGHT, pictures, write_calibration, write_frames, write_split

TURN = np.array([0.1, -0.05, 0.3], np.float32)
PLACE = np.array([0.01, 0.9, -0.02], np.float32)
CAMERA = front_camera((64, 64), 128.0)
TINY = FitConfig(steps=2, faces=60, points=80, degree=None, refine=False, device="cpu")


@cache
def shape() -> torch.Tensor:
    """Of a person of the test split, whom the tracker's 40 directions do not reach."""
    identity = draw(21, 502, "test")
    return load_anny().shape(identity.phenotypes, identity.local_changes)[0]


@cache
def model() -> FaceModel:
    return known_face(shape().numpy())


@cache
def head() -> GaussianHead:
    """A coloured Gaussian in the middle of each face of a coarse head."""
    rig = load_anny()
    small = decimate(rig, 400)
    corners = small.vertices(rig.rest(shape()[None], torch.zeros(1, 0))[0][0])[small.faces]
    count = len(corners)
    draws = torch.Generator().manual_seed(0)
    cloud = Cloud(
        means=corners.mean(1),
        quaternions=torch.tensor([1.0, 0, 0, 0]).expand(count, 4).contiguous(),
        scales=torch.full((count, 3), 0.008),
        opacities=torch.full((count,), 0.9),
        colours=torch.rand(count, 3, generator=draws),
        bindings=torch.arange(count),
    )
    return GaussianHead(cloud, rig, shape(), small)


def expression(**values: float) -> np.ndarray:
    return np.array([values.get(name, 0.0) for name in model().rig.expression_names], np.float32)


def joints() -> np.ndarray:
    found = np.zeros((len(model().rig.parents), 3), np.float32)
    found[model().rig.joint_names.index(HEAD)] = TURN
    return found


def seen(values: np.ndarray, camera: Camera = CAMERA) -> FaceTrack:
    """What a perfect landmarker reads off this person's head at ``TURN`` and ``PLACE``."""
    points = model().points(np.zeros(0), values, TURN, PLACE) @ camera.world_to_camera[:3, :3].T
    landmarks = np.zeros((478, 3), np.float32)
    landmarks[model().landmarks, :2] = (points @ camera.K.T)[:, :2] / points[:, 2:]
    matrix = np.eye(4, dtype=np.float32)
    turn = rotation_matrix(torch.from_numpy(TURN)).numpy()
    matrix[:3, :3] = np.diag([1, -1, -1]) @ camera.world_to_camera[:3, :3] @ turn @ MEDIAPIPE.T
    read = dict(zip(model().rig.expression_names, values.tolist(), strict=True))
    return FaceTrack(landmarks, np.array([read.get(n, 0.0) for n in ARKIT_NAMES], np.float32), matrix)


def motion(values: np.ndarray, **changes: object) -> Motion:
    image = np.zeros((64, 64, 3), np.uint8)
    return replace(Motion("m", 0, image, face=seen(values), camera=CAMERA), **changes)  # type: ignore[arg-type]


def test_the_model_of_a_known_shape_gives_the_points_of_the_rig() -> None:
    rig, found, values = model().rig, load_correspondence(), expression(jawOpen=0.7, browInnerUp=0.4)
    posed = rig(
        shape()[None],
        torch.from_numpy(values)[None],
        rotation_matrix(torch.from_numpy(joints()))[None],
        torch.from_numpy(PLACE)[None],
    ).vertices[0]
    corners = posed.numpy()[rig.faces.numpy()[found.faces]]
    expected = np.einsum("nk,nkc->nc", found.barycentrics, corners)
    assert np.abs(model().points(np.zeros(0), values, TURN, PLACE) - expected).max() < 1e-5


def test_a_head_of_known_shape_is_found_where_it_is() -> None:
    values = expression(jawOpen=0.6)
    for fit_expression in (True, False):
        found = fit_pose(seen(values), model(), CAMERA, fit_expression)
        assert np.linalg.norm(found.translation - PLACE) < 1e-3
        assert np.abs(found.joints - joints()).max() < 2e-3
        assert np.abs(found.expression - values).max() < 0.02
        assert np.array_equal(found.shape, shape().numpy())
    assert np.array_equal(found.expression, values)  # as it was read


def test_the_avatar_shows_what_the_tracker_read() -> None:
    values = expression(jawOpen=0.6)
    avatar = FittedHead(head())
    image = avatar.render(motion(values))
    posed = head().posed(torch.from_numpy(values), torch.from_numpy(joints()), torch.from_numpy(PLACE))
    expected = render(posed, [CAMERA], background=torch.ones(3)).image[0].numpy()
    assert image.shape == (64, 64, 3)
    assert np.array_equal(image[0, 0], [1, 1, 1])
    assert (image < 0.9).mean() > 0.1  # it is in the picture
    assert np.square(image - expected).mean() < 10**-3.5  # 35 dB
    assert avatar.info == {"gaussians": len(head().cloud)}


def test_a_frame_does_not_depend_on_those_before_it() -> None:
    avatar, still, open_ = FittedHead(head()), motion(expression()), motion(expression(jawOpen=0.9))
    first = avatar.render(still)
    other = avatar.render(open_)
    assert np.abs(first - other).max() > 0.05
    assert np.array_equal(avatar.render(still), first)


def test_a_driver_without_a_face_or_a_camera_has_no_picture() -> None:
    with pytest.raises(Unscorable, match="no face found in the driver"):
        FittedHead(head()).render(motion(expression(), face=None))
    with pytest.raises(Unscorable, match="no calibrated camera"):
        FittedHead(head()).render(motion(expression(), camera=None))


def test_avatars_that_ship_are_loaded_and_bad_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "501" / AVATAR
    portrait = Portrait("p", pictures(1)[0], views=Views("501", tmp_path, path, ("FREE",)))
    method = GaussianFit()
    with pytest.raises(DataError, match=r"501/fit/head\.avatar does not exist"):
        method.build(portrait)
    head().save(path)
    assert len(method.build(portrait).head.cloud) == len(head().cloud)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"head\.avatar cannot be read as an avatar file"):
        method.build(portrait)
    with pytest.raises(DataError, match="says nothing of its person's views"):
        method.build(Portrait("p", pictures(1)[0]))


def test_an_avatar_of_another_rig_is_refused() -> None:
    other = copy.copy(head().rig)
    other.name = "flame"
    with pytest.raises(DataError, match="driven through Anny, and this avatar is bound to 'flame'"):
        FittedHead(replace(head(), rig=other))


def test_it_runs_where_a_protocol_has_views_and_says_so_elsewhere() -> None:
    spec = registry.method("gaussian-fit")
    assert spec.role == "bound"
    for protocol in ("openheads-self", "openheads-cross", "openheads-cross-gt"):
        assert obstacle(spec, registry.protocol(protocol)) is None
    assert "views" in str(obstacle(spec, registry.protocol("portrait-cross")))
    assert "views" in str(obstacle(spec, registry.protocol("clip-self")))


def test_what_drives_is_true_or_is_referred_to_is_held_out_whatever_the_limit(tmp_path: Path) -> None:
    face = pictures(1, size=(32, 32))[0]
    data = {"openheads": NersembleDataset(write_split(tmp_path, {"501": face, "502": face, "509": face}))}
    held = {
        "openheads-self": ("FREE",),
        "openheads-cross": ("FREE", "PORTRAIT"),  # its reference set
        "openheads-cross-gt": ("FREE", "FREE-AS-509"),
    }
    for name, takes in held.items():
        found = {}
        for limit in (None, 1):
            spec = registry.protocol(name)
            config = RunConfig(methods=["any"], protocol=name, frames=FramesConfig(limit=limit))
            names = held_out(spec, make_manifest(spec, config, data), config, data)
            found[limit] = data["openheads"].views(f"501_PORTRAIT_{FRONTAL}", names)
        assert found[1] == found[None]
        assert found[1].held_out == takes
        assert (found[1].person, found[1].root, found[1].avatar) == ("501", tmp_path, None)


def test_the_embedded_split_brings_avatars_of_the_moments_alone() -> None:
    data = openheads()
    assert isinstance(data, NersembleDataset)
    learnt = {"moments": {take: list(frames) for take, frames in MOMENTS.items()}, "cameras": list(CAMERAS)}
    for number in NUMBERS:
        person = str(number)
        views = data.views(f"{person}_PORTRAIT_{FRONTAL}", [f"509_FREE_{FRONTAL}"])
        assert views == Views(person, data.root, data.root / person / AVATAR, ("FREE",))
        assert views.avatar is not None
        assert len(load_head(views.avatar).cloud) > 0
        assert json.loads(views.avatar.with_name("fit.json").read_text())["learnt_from"] == learnt


def test_people_without_an_avatar_or_enough_cameras_are_listed_before_any_work(tmp_path: Path) -> None:
    face = pictures(1, size=(32, 32))[0]
    root = write_split(tmp_path, {"501": face, "502": face})
    protocol = registry.protocol("openheads-self")
    config = RunConfig(methods=["any"], protocol=protocol.id)

    def lacking(avatars: bool = False) -> str:
        data = {"openheads": NersembleDataset(root, avatars=avatars)}
        found = Preflight(protocol, [registry.method("gaussian-fit")], [], data)
        check_views(found, make_manifest(protocol, config, data), config)
        assert found.without_methods == ({"gaussian-fit": "no views"} if found.optional else {})
        return "".join(found.optional)

    assert re.search(r"the avatar of person '501', .*head\.avatar\): install.*\(2 people in all\)", lacking(True))
    for person in ("501", "502"):
        (root / person / AVATAR).parent.mkdir()
        (root / person / AVATAR).touch()
    assert lacking(True) == ""
    assert "person '501'" in lacking()
    assert "without FREE, which this run is about, PORTRAIT from 1 camera is left" in lacking()
    for person in (501, 502):
        write_person(root, person, ("EXP-1-head",))
    assert re.search(r"501/sequences/PORTRAIT/truth\.npz is not there", lacking())
    for person in ("501", "502"):
        write_truth(root / person / "sequences" / "PORTRAIT" / "truth.npz", [HeadState.neutral()], [0])
    assert lacking() == ""


def test_a_dataset_that_says_nothing_of_views_costs_the_avatar(tmp_path: Path) -> None:
    class Plain:
        pass

    with Journal(tmp_path / "journal.jsonl") as journal:
        engine = FeatureEngine([], FeatureCache.default())
        inputs = Inputs({"plain": Plain()}, ImageContract(), engine, journal)  # type: ignore[dict-item]
        with pytest.raises(Unscorable, match="'plain' has no further views of the person of 'somebody'"):
            inputs.views(FrameRef("plain", "somebody", 0, ""))


def write_person(root: Path, number: int, takes: tuple[str, ...], cameras: tuple[str, ...] = (FRONTAL, LEFT)) -> Path:
    """One frame of each take from each camera, with shape and motion."""
    person = root / str(number)
    write_calibration(person, image_size=(24, 24))
    write_json(person / "identity.json", draw(21, number, "test").to_json())
    for n, take in enumerate(takes):
        for m, serial in enumerate(cameras):
            picture = pictures(1, seed=10 * n + m, size=(24, 24))[0]
            write_frames(person / "sequences" / take / "images" / f"cam_{serial}", {0: picture})
        write_truth(person / "sequences" / take / "truth.npz", [HeadState.neutral()], [0])
    return root


def test_a_fit_is_kept_and_found_by_what_it_was_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted_module, "cache_root", lambda: tmp_path / "cache")
    root = write_person(tmp_path / "data", 501, ("EXP-1-head", "FREE", "EXP-1-head-AS-509"))
    views = Views("501", root, None, ("FREE", "FREE-AS-509"))
    learnt: list[set[str]] = []

    class Watched(Fit):
        def __init__(self, subject: OpenHeadsSubject, views: Sequence[int], *rest: Any) -> None:
            learnt.append({subject.views[n].take for n in views})
            super().__init__(subject, views, *rest)

    monkeypatch.setattr(fitted_module, "Fit", Watched)
    first = fitted(views, TINY)
    again = fitted(views, TINY)
    assert learnt == [{"EXP-1-head"}]
    assert torch.equal(first.cloud.means, again.cloud.means)
    # What is held out is not looked at, wherever the folder stands; what is learnt from makes another avatar.
    frame = Path("501/sequences/FREE/images") / f"cam_{FRONTAL}"
    shutil.copytree(root, tmp_path / "moved")
    write_frames(tmp_path / "moved" / frame, {0: pictures(1, seed=99, size=(24, 24))[0]})
    fitted(replace(views, root=tmp_path / "moved"), TINY)
    assert len(learnt) == 1
    frame = Path("501/sequences/EXP-1-head/images") / f"cam_{FRONTAL}"
    write_frames(tmp_path / "moved" / frame, {0: pictures(1, seed=99, size=(24, 24))[0]})
    fitted(replace(views, root=tmp_path / "moved"), TINY)
    assert len(learnt) == 2


@pytest.mark.parametrize(
    ("takes", "cameras", "message"),
    [
        (("FREE",), (FRONTAL, LEFT), "without FREE, which this run is about, nothing is left"),
        (("FREE", "PORTRAIT"), (FRONTAL,), "PORTRAIT from 1 camera is left, and a fit needs two cameras"),
    ],
)
def test_where_too_little_is_left_to_learn_from_it_says_what(
    tmp_path: Path, takes: tuple[str, ...], cameras: tuple[str, ...], message: str
) -> None:
    root = write_person(tmp_path, 501, takes, cameras)
    with pytest.raises(DataError, match=message):
        fitted(Views("501", root, None, ("FREE",)), TINY)


def test_a_folder_without_the_exact_motion_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted_module, "cache_root", lambda: tmp_path / "cache")
    root = write_person(tmp_path / "data", 501, ("EXP-1-head",))
    (root / "501" / "sequences" / "EXP-1-head" / "truth.npz").unlink()
    with pytest.raises(DataError, match=r"truth\.npz cannot be read"):
        fitted(Views("501", root, None, ("FREE",)), TINY)


def test_the_avatars_that_ship_are_made_of_the_moments_alone_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fits, "cache_root", lambda: tmp_path / "cache")
    monkeypatch.setattr(fits, "MOMENTS", {"EXP-1-head": (0,)})
    monkeypatch.setattr(fits, "CAMERAS", (FRONTAL, LEFT))
    views = write_person(tmp_path / "views", 501, ("EXP-1-head",))
    assert fits.make_fit(views, "501", tmp_path / "out", TINY)
    monkeypatch.setattr(fits, "fit_person", None)
    assert not fits.make_fit(views, "501", tmp_path / "out", TINY)
    assert sorted(p.name for p in (tmp_path / "out" / "501" / "fit").iterdir()) == ["fit.json", "head.avatar"]
    record = json.loads((tmp_path / "out" / "501" / "fit" / "fit.json").read_text())
    assert record["learnt_from"] == {"moments": {"EXP-1-head": [0]}, "cameras": [FRONTAL, LEFT]}
    assert "seconds" not in record
    more = NersembleDataset(write_person(tmp_path / "more", 501, ("EXP-1-head", "FREE"), (FRONTAL, LEFT, RIGHT)))
    assert fits.held_out(more, "501") == ((RIGHT,), ("FREE",))
    shutil.rmtree(views / "501" / "sequences" / "EXP-1-head" / "images" / f"cam_{LEFT}")
    with pytest.raises(DataError, match=f"has frames \\[\\] of '501_EXP-1-head_{LEFT}', and a fit learns from \\[0\\]"):
        fits.make_fit(views, "501", tmp_path / "out", TINY)
