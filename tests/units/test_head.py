"""A cloud bound to a rig's head: its two ways of moving, and its file."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.gaussians import head as heads
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import Form, GaussianHead, load_head
from avatarbench.heads.anny import AnnyRig, load_anny
from avatarbench.heads.decimate import decimate

FORMS: tuple[Form, ...] = ("frames", "barycentric")
MILLIMETRES = 1000


@pytest.fixture(scope="module")
def rig() -> AnnyRig:
    return load_anny()


def _on(faces: Tensor, vertices: Tensor, every: int) -> Cloud:
    """A Gaussian on every so many faces, up to 2 mm off the surface, of sizes as fitting gives them."""
    draw = torch.Generator().manual_seed(0)
    bindings = torch.arange(0, len(faces), every)
    corners = vertices[faces[bindings]]
    weights = torch.rand(len(bindings), 3, generator=draw) + 0.1
    means = (corners * (weights / weights.sum(1, keepdim=True))[..., None]).sum(1)
    means += 0.002 * (torch.rand(means.shape, generator=draw) - 0.5)
    count = len(bindings)
    return Cloud(
        means,
        torch.nn.functional.normalize(torch.randn(count, 4, generator=draw), dim=1),
        0.001 + 0.004 * torch.rand(count, 3, generator=draw),
        torch.rand(count, generator=draw),
        torch.rand(count, 3, generator=draw),
        bindings,
    )


@pytest.fixture(scope="module")
def full(rig: AnnyRig) -> GaussianHead:
    shape = rig.shape({"gender": 0.2, "age": 0.7})[0]
    return GaussianHead(_on(rig.faces, rig.rest(shape[None], shape[None, :0])[0][0], 5), rig, shape)


@pytest.fixture(scope="module")
def small(rig: AnnyRig, full: GaussianHead) -> GaussianHead:
    offsets = 0.001 * torch.randn(rig.template.shape, generator=torch.Generator().manual_seed(1))
    reduced = decimate(rig, 600)
    rest = reduced.vertices(rig.rest(full.shape[None], full.shape[None, :0], offsets)[0][0])
    return GaussianHead(_on(reduced.faces, rest, 1), rig, full.shape, reduced, offsets)


@pytest.fixture(params=["full", "small"])
def head(request: pytest.FixtureRequest, full: GaussianHead, small: GaussianHead) -> GaussianHead:
    return {"full": full, "small": small}[request.param]


def _pose(head: GaussianHead, turns: dict[str, tuple[float, float, float]], **actions: float) -> tuple[Tensor, ...]:
    expression, joints, translation = head.neutral()
    for name, value in actions.items():
        expression[head.rig.expression_names.index(name)] = value
    for name, degrees in turns.items():
        joints[head.rig.joint_names.index(name)] = torch.deg2rad(torch.tensor(degrees))
    return expression, joints, translation


def _apart(one: Cloud, other: Cloud) -> Tensor:
    return (one.means - other.means).norm(dim=1) * MILLIMETRES


def _degrees(one: Cloud, other: Cloud) -> Tensor:
    a, b = (torch.nn.functional.normalize(c.quaternions.double(), dim=1) for c in (one, other))
    return torch.rad2deg(2 * (a * b).sum(1).abs().clamp_max(1).acos())


@pytest.mark.parametrize("form", FORMS)
def test_the_neutral_pose_leaves_the_cloud_as_it_is(head: GaussianHead, form: Form) -> None:
    posed = head.posed(*head.neutral(), form)
    assert _apart(posed, head.cloud).max() < 1e-6 * MILLIMETRES
    assert _degrees(posed, head.cloud).max() < 0.1
    assert torch.allclose(posed.scales, head.cloud.scales, rtol=1e-4)
    assert torch.equal(posed.opacities, head.cloud.opacities)


def test_a_rigid_motion_moves_both_forms_exactly_alike(head: GaussianHead) -> None:
    expression, joints, _ = _pose(head, {"root": (20, -35, 10)})
    lift = torch.tensor([0.3, -0.2, 0.1])
    frames, carried = (head.posed(expression, joints, lift, form) for form in FORMS)
    assert _apart(frames, carried).max() < 1e-6 * MILLIMETRES
    assert _degrees(frames, carried).max() < 0.1
    assert torch.allclose(frames.scales, carried.scales, rtol=1e-4)
    turn = roma.rotvec_to_rotmat(joints[0])
    about = head.rig.rest(head.shape[None], head.shape[None, :0], head.offsets)[1][0, 0]
    assert torch.allclose(carried.means, (head.cloud.means - about) @ turn.T + about + lift, atol=1e-6)


def moderate(head: GaussianHead) -> tuple[Tensor, ...]:
    return _pose(head, {"neck01": (0, 0, 10), "head": (5, 0, 5)}, mouthSmileLeft=0.5, mouthSmileRight=0.5, jawOpen=0.3)


def strong(head: GaussianHead) -> tuple[Tensor, ...]:
    return _pose(
        head, {"neck01": (0, 0, 20), "head": (10, 0, 15), "eye.L": (0, 0, 20)},
        jawOpen=1.0, eyeBlinkLeft=1.0, eyeBlinkRight=1.0, mouthPucker=1.0, browInnerUp=1.0, cheekPuff=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(("pose", "mean", "most"), [(moderate, 0.25, 4.0), (strong, 0.7, 9.0)])
def test_the_forms_differ_by_a_fraction_of_a_millimetre(
    head: GaussianHead, pose: Callable[[GaussianHead], tuple[Tensor, ...]], mean: float, most: float
) -> None:
    """What docs/rasteriser.md states. Both carry a point of the surface exactly; what differs is how its distance to
    the surface, its size and its turn follow a triangle that is stretched."""
    expression, joints, translation = pose(head)
    frames, carried = (head.posed(expression, joints, translation, form) for form in FORMS)
    apart = _apart(frames, carried)
    assert 0.01 < apart.mean() < mean
    assert apart.max() < most
    assert _apart(frames, head.cloud).mean() > 100 * apart.mean()
    assert torch.equal(carried.scales, head.cloud.scales)
    assert not torch.allclose(frames.scales, head.cloud.scales, rtol=0.05)


def test_coefficients_that_the_rig_does_not_have_are_refused(full: GaussianHead) -> None:
    expression, joints, translation = full.neutral()
    for wrong in ((torch.zeros(53), joints), (expression, joints[:5]), (expression[None], joints)):
        with pytest.raises(DataError, match="the rig 'anny' takes at most"):
            full.posed(*wrong, translation)


def test_a_cloud_that_is_not_bound_or_bound_beyond_the_mesh_makes_no_head(full: GaussianHead) -> None:
    with pytest.raises(DataError, match="bound to no faces"):
        replace(full, cloud=replace(full.cloud, bindings=None))
    with pytest.raises(DataError, match="'bindings' are outside 0 to"):
        replace(full, cloud=replace(full.cloud, bindings=full._bindings + len(full.faces)))


def test_a_gaussian_on_a_face_that_has_collapsed_makes_no_head(full: GaussianHead) -> None:
    """In its frame it would be as large as the frame is small, and fill the picture once the face opens."""
    offsets = torch.zeros_like(full.rig.template)
    corners = full.rig.rest(full.shape[None], full.shape[None, :0])[0][0][full.faces[10]]
    offsets[full.faces[10]] = corners.mean(0) - corners
    assert full._bindings[2] == 10
    with pytest.raises(DataError, match="at rest for 1 Gaussians, the first of them 2 on face 10"):
        replace(full, offsets=offsets)


def test_a_head_comes_back_from_its_file_and_moves_alike(head: GaussianHead, tmp_path: Path) -> None:
    head.save(tmp_path / "a.avatar")
    found = load_head(tmp_path / "a.avatar")
    assert torch.equal(found.shape, head.shape)
    assert (found.offsets is None) == (head.offsets is None)
    assert torch.equal(found.faces, head.faces)
    pose = strong(head)
    for form in FORMS:
        ours, theirs = head.posed(*pose, form), found.posed(*pose, form)
        assert _apart(ours, theirs).max() < 1e-3
        assert torch.allclose(ours.opacities, theirs.opacities, atol=1e-5)
        assert torch.allclose(ours.colours, theirs.colours, atol=1e-5)
    head.save(tmp_path / "b.avatar")
    assert (tmp_path / "a.avatar").read_bytes() == (tmp_path / "b.avatar").read_bytes()


@pytest.fixture(scope="module")
def saved(full: GaussianHead, small: GaussianHead, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("heads") / "small.avatar"
    replace(small, cloud=small.cloud.select(torch.arange(5))).save(path)
    return path


def _changed(saved: Path, path: Path, **members: Callable[[bytes], bytes | None]) -> Path:
    """A copy with the members ``cloud``, ``rig`` or ``avatar`` changed, or without them."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = members.get(name.split(".")[0], bytes)(old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path


def _meta(**changes: object) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps(json.loads(content) | changes).encode()


def _array(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        arrays = heads.npz.read_npz(io.BytesIO(content), "")
        arrays[name] = change(torch.from_numpy(arrays[name])).numpy()
        return heads._npz(arrays)

    return changed


@pytest.mark.parametrize(
    ("members", "says"),
    [
        pytest.param({"avatar": _meta(format=2)}, "format 2, and this version reads format 1", id="a newer format"),
        pytest.param({"avatar": _meta(rig="other")}, "no rig 'other'", id="an unknown rig"),
        pytest.param({"avatar": lambda _: b"[1]"}, "is no object", id="no object"),
        pytest.param({"avatar": lambda _: b"{"}, "cannot be read as an avatar file", id="no JSON"),
        pytest.param({"avatar": lambda _: b"[" * 200000}, "cannot be read as an avatar file", id="deep JSON"),
        pytest.param({"avatar": lambda _: None}, "no avatar file", id="no avatar.json"),
        pytest.param({"rig": lambda _: None}, "no avatar file", id="no rig.npz"),
        pytest.param({"cloud": lambda _: None}, "no avatar file", id="no cloud.ply"),
        pytest.param({"rig": lambda content: content[:200]}, r"rig\.npz cannot be read", id="a cut rig"),
        pytest.param({"cloud": lambda content: content[:-3]}, r"cloud\.ply cannot be read", id="a cut cloud"),
        pytest.param({"rig": _array("rest", lambda rest: rest + 0.001)}, "another version of the rig", id="other rig"),
        pytest.param(
            {"rig": _array("rest", lambda rest: rest[:-1])}, "another version of the rig", id="fewer vertices"
        ),
        pytest.param({"rig": _array("corners", lambda c: c + 9999)}, "does not hold a whole avatar", id="corners"),
        pytest.param({"rig": _array("faces", lambda f: f + 9999)}, "does not hold a whole avatar", id="faces"),
        pytest.param({"rig": _array("faces", lambda f: f[:2])}, "'bindings' are outside 0 to 1", id="fewer faces"),
        pytest.param({"rig": _array("shape", lambda s: s[None, None])}, "does not hold a whole avatar", id="shape"),
    ],
)
def test_a_damaged_file_is_refused_by_its_name(
    saved: Path, tmp_path: Path, members: dict[str, Callable[[bytes], bytes | None]], says: str
) -> None:
    with pytest.raises(DataError, match=says) as found:
        load_head(_changed(saved, tmp_path / "wrong.avatar", **members))
    assert "wrong.avatar" in str(found.value)


def test_what_is_no_whole_zip_is_refused(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    (tmp_path / "cut.avatar").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.avatar").write_text("hello")
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    (tmp_path / "flipped.avatar").write_bytes(flipped)
    for name, local, central, value in (("encrypted", 6, 8, 1), ("codec", 8, 10, 97), ("lzma", 8, 10, 14)):
        marked = bytearray(content)
        for mark, field in ((b"PK\3\4", local), (b"PK\1\2", central)):
            marked[content.find(mark) + field] = value
        (tmp_path / f"{name}.avatar").write_bytes(marked)
    for name in ("cut", "text", "flipped", "encrypted", "codec", "lzma"):
        with pytest.raises(DataError, match=rf"{name}\.avatar cannot be read"):
            load_head(tmp_path / f"{name}.avatar")
    with pytest.raises(DataError, match="does not exist"):
        load_head(tmp_path / "none.avatar")


def test_a_member_that_would_fill_the_memory_is_not_unpacked(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_MOST", 1 << 20)
    with zipfile.ZipFile(_changed(saved, tmp_path / "bomb.avatar", cloud=lambda _: None), "a") as archive:
        archive.writestr("cloud.ply", bytes((1 << 20) + 1), zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match=r"bomb\.avatar: its cloud\.ply would unpack to more than"):
        load_head(tmp_path / "bomb.avatar")


def test_arrays_that_would_fill_the_memory_are_not_unpacked(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "_MOST", 1 << 20)
    stream = io.BytesIO()
    np.savez_compressed(stream, shape=np.zeros(1 << 18, np.float32))
    with pytest.raises(DataError, match=r"bomb\.avatar: the arrays of its rig\.npz would unpack to more than"):
        load_head(_changed(saved, tmp_path / "bomb.avatar", rig=lambda _: stream.getvalue()))
