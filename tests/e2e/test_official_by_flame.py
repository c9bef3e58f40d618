"""GAGAvatar and GPAvatar driven by imported FLAME tracking, against their stand-ins, whose FLAME is in other bases."""

from __future__ import annotations

import importlib
import json
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from avatarbench import registry
from avatarbench.dataset import frame_number_of
from avatarbench.errors import AvatarbenchError, PreflightError, Unscorable
from avatarbench.heads.flame import load_flame
from avatarbench.isolation.method import plain
from avatarbench.isolation.official import TOOLS, OfficialMethod
from avatarbench.method import Camera, FlameParameters, Motion, Portrait, Site
from avatarbench.methods.flame_driven import REPORT
from avatarbench.run.config import load_config
from avatarbench.run.prepare import prepare
from tests.conftest import Cli
from tests.standins.common import python
from tests.standins.heads import picture, trapped
from tests.synthetic_flame import flame_arrays

SIZE, FOCAL = 512, 12.0 * 256
BOTH = pytest.mark.parametrize("name", ["gagavatar", "gpavatar"])
WEIGHTS = {"gagavatar": "assets", "gpavatar": "checkpoints"}
MODEL = {"gagavatar": "assets/FLAME_with_eye.npz", "gpavatar": "core/libs/FLAME/assets/generic_model.npz"}
SPOTS = [0, 5023 // 2, 5022]
"""The vertices that the stand-ins paint."""


@pytest.fixture(scope="module")
def flames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two FLAMEs of one mesh: ``ours.npz``, as a user has it, and ``theirs.npz``, whose first 100 shapes and 50
    expressions span what the first of ours do, and the others likewise."""
    folder, arrays, draw = tmp_path_factory.mktemp("flames"), flame_arrays(), np.random.default_rng(5)
    found = {key: arrays[key] for key in ("v_template", "shapedirs", "posedirs", "weights", "f", "kintree_table")}
    found["J_regressor"] = arrays["J_regressor"].toarray()
    found = {key: np.asarray(v, np.float32) if v.dtype.kind == "f" else v for key, v in found.items()}
    np.savez(folder / "ours.npz", **found)
    directions = found["shapedirs"].copy()
    for start, end in ((0, 100), (100, 300), (300, 350), (350, 400)):
        turn = np.linalg.qr(draw.normal(size=(end - start, end - start)))[0]
        directions[..., start:end] = directions[..., start:end] @ turn.astype(np.float32)
    np.savez(folder / "theirs.npz", **{**found, "shapedirs": directions})
    return folder


def checkout(name: str, folder: Path, flames: Path) -> Path:
    repo = trapped(name, folder)
    (repo / MODEL[name]).symlink_to(flames / "theirs.npz")
    return repo


@contextmanager
def opened(
    name: str, repo: Path, flames: Path, work: Path, notes: list[str], **options: Any
) -> Iterator[OfficialMethod]:
    method = registry.load(registry.method(f"{name}-flame").factory)(
        repo=str(repo),
        weights=str(repo / WEIGHTS[name]),
        python=python(),
        flame_file=str(flames / "ours.npz"),
        **options,
    )
    method.open(Site(work, note=notes.append, restarted=lambda why: None, say=lambda text: None))
    try:
        yield method
    finally:
        method.close()


def tracked(index: int, count: int = 12, **changes: Any) -> FlameParameters:
    """Parameters of the first ``count`` coefficients; one person, another expression and pose for each index."""
    shape, expr, draw = np.zeros(300), np.zeros(100), np.random.default_rng(index + 1)
    shape[:count] = np.random.default_rng(0).normal(size=count)
    expr[:count] = draw.normal(size=count)
    values = {
        "shape": shape,
        "expr": expr,
        "rotation": [0.1, 0.2 - 0.3 * index, 0.02],
        "neck_pose": [0, 0, 0],
        "jaw_pose": [0.2 + 0.1 * index, 0, 0],
        "eyes_pose": [0.1, -0.2, 0, 0.1, -0.2, 0],
        "translation": [0.01 * index, 0.02, -0.01],
    }
    return FlameParameters(**{k: np.asarray(v, np.float32) for k, v in {**values, **changes}.items()})


def camera(focal: float = FOCAL, distance: float = 3.0) -> Camera:
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = 0.0, -0.01, distance
    return Camera(np.array([[focal, 0, 270.0], [0, focal, 250.0], [0, 0, 1]]), pose, SIZE, SIZE)


def motion(index: int, **changes: Any) -> Motion:
    made = {"image": picture((60, 120, 200), index), "flame": tracked(index), "camera": camera(), **changes}
    return Motion(id=f"driver/{index:06d}", index=index, **made)


def expected(flames: Path, one: Motion, eyes: bool) -> np.ndarray:
    """Where our own FLAME and our contract's camera put the three vertices: (3, 2) pixels; ``eyes``: as they turn."""
    rig, flame, seen = load_flame(flames / "ours.npz"), one.flame, one.camera
    assert flame is not None
    assert seen is not None
    turns = {"root": flame.rotation, "neck": flame.neck_pose, "jaw": flame.jaw_pose}
    if eyes:
        turns |= {"eye.L": flame.eyes_pose[:3], "eye.R": flame.eyes_pose[3:]}
    codes = [torch.from_numpy(values)[None] for values in (flame.shape, flame.expr)]
    head = rig(*codes, rig.rotations(turns), torch.from_numpy(flame.translation)[None]).vertices[0, SPOTS].numpy()
    places = (head @ seen.world_to_camera[:3, :3].T + seen.world_to_camera[:3, 3]) @ seen.K.T
    return np.asarray(places[:, :2] / places[:, 2:])


def spots(image: np.ndarray) -> np.ndarray:
    """The middle of each channel's spot, (3, 2) pixels."""
    at = np.arange(SIZE) + 0.5
    levels = np.asarray(image, np.float64).transpose(2, 0, 1)
    totals = levels.sum((1, 2))
    return np.stack([(levels.sum(1) @ at) / totals, (levels.sum(2) @ at) / totals], 1)


@BOTH
def test_a_head_is_where_it_was_tracked_in_another_flames_codes(name: str, flames: Path, tmp_path: Path) -> None:
    repo, notes = checkout(name, tmp_path, flames), list[str]()
    motions = [motion(0), motion(1), motion(2, flame=None)]
    with opened(name, repo, flames, tmp_path / "work", notes) as method:
        own = Portrait("tracked", picture((150, 100, 60)), flame=tracked(5), camera=camera())
        avatar: Any = method.build(own)
        assert avatar.info["identity_mm"] < 0.1
        avatar.announce(motions)
        for one in motions[1::-1]:
            np.testing.assert_allclose(
                spots(np.asarray(avatar.render(one))), expected(flames, one, name == "gagavatar"), atol=0.5
            )
        with pytest.raises(Unscorable, match="the tracked driver: it has no FLAME tracking"):
            avatar.render(motions[2])
        # Another lens, nearer, and a portrait that nobody tracked.
        other = method.build(Portrait("plain", picture((40, 160, 220))))
        assert "identity_mm" not in other.info
        near = motion(3, camera=camera(focal=1500.0, distance=1.2))
        found = spots(np.asarray(other.render(near)))  # not announced
        assert 0.5 < np.abs(found - expected(flames, near, name == "gagavatar")).max() < 12
    said = "\n".join(notes)
    assert "1 of 2 portraits have no FLAME tracking: its own tracker tracked them" in said
    assert "its own FLAME in place of the tracked one, 3 drivers: off by 0.0" in said
    assert "its own FLAME in place of the tracked one, 1 portrait: off by 0.0" in said
    assert not (tmp_path / "work").exists()


@BOTH
def test_a_frame_that_their_flame_cannot_show_is_told_with_what_is_left(
    name: str, flames: Path, tmp_path: Path
) -> None:
    repo, notes = checkout(name, tmp_path, flames), list[str]()
    expr = np.zeros(100)
    expr[:12] = 3 * np.random.default_rng(9).normal(size=12)
    wild = motion(1, flame=tracked(1, expr=expr))
    lost = np.load(flames / "theirs.npz")
    directions = lost["shapedirs"].copy()
    directions[..., 300:350] = 0
    (repo / MODEL[name]).unlink()
    np.savez(repo / MODEL[name], **{**lost, "shapedirs": directions})
    teeth = of_another_mesh(2)
    with opened(name, repo, flames, tmp_path / "work", notes, limit_mm=1) as method:
        avatar: Any = method.build(Portrait("plain", picture((150, 100, 60))))
        avatar.announce([wild, teeth])
        with pytest.raises(Unscorable, match=r"shows the tracked head \d+\.\d+ mm and \d+\.\d+ px off .*at most 1 mm"):
            avatar.render(wild)
        with pytest.raises(Exception, match="offsets for 777 vertices, and FLAME has 5023, with teeth 5143"):
            avatar.render(teeth)
    assert not [note for note in notes if "in place of the tracked one" in note]


def of_another_mesh(index: int) -> Motion:
    return motion(index, flame=replace(tracked(index), static_offset=np.zeros((777, 3), np.float32)))


def test_frames_of_which_none_has_a_mesh_fail_by_their_own_reason(flames: Path, tmp_path: Path) -> None:
    repo, notes = checkout("gpavatar", tmp_path, flames), list[str]()
    with opened("gpavatar", repo, flames, tmp_path / "work", notes) as method:
        avatar: Any = method.build(Portrait("plain", picture((150, 100, 60))))
        avatar.announce([of_another_mesh(0), of_another_mesh(1)])
        with pytest.raises(AvatarbenchError, match="offsets for 777 vertices"):
            avatar.render(of_another_mesh(0))
        assert method.restarts == 0
        assert np.asarray(avatar.render(motion(2))).any()


class Counted(Sequence[Motion]):
    """Motions that are made when they are asked for, and how many of their pictures somebody holds."""

    def __init__(self, count: int) -> None:
        self.pictures: list[weakref.ref[np.ndarray]] = []
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        if index >= self.count:
            raise IndexError
        made = motion(index)
        self.pictures.append(weakref.ref(made.image))
        return made

    def held(self) -> int:
        return sum(picture() is not None for picture in self.pictures)


def test_announced_frames_leave_their_pictures_and_are_made_a_mesh_once(
    flames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, told = checkout("gpavatar", tmp_path, flames), Counted(3)
    with opened("gpavatar", repo, flames, tmp_path / "work", []) as method:
        avatar: Any = method.build(Portrait("plain", picture((150, 100, 60))))
        avatar.announce(told)
        assert len(told.pictures) >= 3
        assert told.held() == 0
        monkeypatch.setattr(method, "mesh", None)
        assert np.asarray(avatar.render(motion(1))).any()


def test_what_lies_in_a_reports_place_and_is_no_file_is_not_read(flames: Path, tmp_path: Path) -> None:
    repo, notes, elsewhere = checkout("gpavatar", tmp_path, flames), list[str](), tmp_path / "elsewhere"
    elsewhere.write_text(json.dumps({"kind": "driver", "frame": "x", "reason": ""}))
    with opened("gpavatar", repo, flames, tmp_path / "work", notes) as method:
        avatar: Any = method.build(Portrait("plain", picture((150, 100, 60))))
        avatar.announce([motion(0), motion(1)])
        (tmp_path / "work/linked").mkdir()
        (tmp_path / "work/linked" / REPORT).symlink_to(elsewhere)
        (tmp_path / "work/folder" / REPORT).mkdir(parents=True)
    assert "2 drivers: off by" in "\n".join(notes)


def test_a_flame_of_another_mesh_and_a_missing_one_are_told(flames: Path, tmp_path: Path) -> None:
    repo = trapped("gagavatar", tmp_path)
    small = flame_arrays(600, 1000)
    names = ("v_template", "shapedirs", "posedirs", "weights")
    np.savez(repo / MODEL["gagavatar"], J_regressor=small["J_regressor"].toarray(), **{n: small[n] for n in names})
    with opened("gagavatar", repo, flames, tmp_path / "work", []) as method:
        avatar: Any = method.build(Portrait("plain", picture((150, 100, 60))))
        with pytest.raises(Unscorable, match="the tracked head has 5023 vertices, its FLAME has 600"):
            avatar.render(motion(0))
    factory: Any = registry.load(registry.method("gagavatar-flame").factory)
    given = {"repo": str(repo), "weights": str(repo / "assets"), "python": python()}
    for file, said in ((tmp_path / "no.npz", "is no file: register"), (repo / MODEL["gagavatar"], "600, 3")):
        (line,) = factory.obstacles(flame_file=str(file), **given)
        assert said in line
    assert factory.obstacles(flame_file=str(flames / "ours.npz"), **given) == []


def exported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VHAP's exports of the shipped person 501's free motion: a head where the calibrated cameras look."""
    monkeypatch.syspath_prepend(str(TOOLS[0].parent))
    write = importlib.import_module("shim_rig").vhap_folder
    data: Any = registry.load(registry.dataset("openheads").factory)(None)
    for sequence in (name for name in data.sequences() if name.startswith("501_FREE")):
        seen = data.camera(sequence)
        turn = seen.world_to_camera[:3, :3].T @ np.diag([1.0, -1.0, -1.0])
        place = np.linalg.inv(seen.world_to_camera) @ [0, 0, np.linalg.norm(seen.world_to_camera[:3, 3]), 1]
        angles = Rotation.from_matrix(turn).as_rotvec()
        last = frame_number_of(data, sequence, data.length(sequence) - 1)
        heads = [tracked(step, rotation=angles, translation=place[:3]) for step in range(last + 1)]
        motions = [{"id": str(index), "flame": plain(head), "camera": plain(seen)} for index, head in enumerate(heads)]
        write(str(folder / sequence), motions)
    return folder


def test_a_run_on_tracked_data_notes_what_the_conversion_left(
    cli: Cli, flames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repos = {name: checkout(name, tmp_path, flames) for name in WEIGHTS}
    given: list[Any] = ["-p", "openheads-self", "--sources", 1, "--limit", 2, "--metric", "psnr", "--size", 128]
    for name, repo in repos.items():
        given += ["-m", f"{name}-flame", "--repo", f"{name}-flame={repo}"]
        given += ["--weights", f"{name}-flame={repo / WEIGHTS[name]}", f"+method.{name}-flame.python={python()}"]
        given += [f"+method.{name}-flame.flame_file={flames / 'ours.npz'}"]
    tracking = exported(tmp_path / "tracking", monkeypatch)
    done = cli("run", *given, "--out", tmp_path / "runs", "--tracker", "vhap", "--tracking", tracking)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads(next((tmp_path / "runs").rglob("run.json")).read_text())
    for method in record["methods"]:
        assert (method["stand_in"], method["frames"], method["failures"]) == (True, 2, 0)
        assert "flame" in method["reads"]
        assert len(method["origin"]["weights"]["FLAME of the tracking"]["sha256"]) == 64
        notes = "\n".join(note for note in record["notes"] if note.startswith(f"{method['id']}: "))
        assert "its own tracker tracked them" in notes
        assert "its own FLAME in place of the tracked one, 2 drivers: off by 0.0" in notes
    assert len(list((tmp_path / "runs").rglob("predictions/*/**/*.png"))) == 4


def test_a_run_without_tracking_is_told_before_any_work(flames: Path, tmp_path: Path) -> None:
    repo = checkout("gagavatar", tmp_path, flames)
    given = {
        "repo": str(repo),
        "weights": str(repo / "assets"),
        "python": python(),
        "flame_file": str(flames / "ours.npz"),
    }
    asked = {"methods": ["gagavatar-flame"], "protocol": "openheads-self", "metrics": ["psnr"], "sources.limit": 1}
    config = load_config(asked)
    config.method["gagavatar-flame"] = given
    with pytest.raises(PreflightError, match=r"needs FLAME parameters: '501_FREE_.* --tracker vhap"):
        prepare(config)
