"""A decimated rig lies on the full rig's surface and moves with it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarbench.datasets.openheads import embedded_split
from avatarbench.errors import DataError
from avatarbench.fitting.config import load_preset
from avatarbench.gaussians.head import load_head
from avatarbench.heads import decimate as module
from avatarbench.heads.anny import AnnyRig, load_anny
from avatarbench.heads.decimate import Decimated, collapse, decimate, shipped
from avatarbench.heads.rig import Rig, faces_digest
from avatarbench.heads.surface import nearest
from avatarbench.methods.pointillist import checkpoint
from avatarbench.methods.pointillist.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def rig() -> AnnyRig:
    return load_anny()


@pytest.fixture(scope="module", params=[decimate, collapse], ids=["the file", "made here"])
def small(rig: AnnyRig, request: pytest.FixtureRequest) -> Decimated:
    made: Decimated = request.param(rig, 1200)
    return made


def test_it_has_about_as_many_faces_as_asked_for(small: Decimated) -> None:
    assert 1100 <= len(small.faces) <= 1200
    assert small.faces.max() == len(small.weights) - 1


def test_its_vertices_are_on_the_full_surface_under_any_motion(rig: AnnyRig, small: Decimated) -> None:
    draw = torch.Generator().manual_seed(0)
    expression = torch.rand(1, 52, generator=draw)
    posed = rig(torch.zeros(1, 0), expression, rig.rotations({"head": [0.1, 0.2, 0.4]})).vertices[0]
    vertices = small.vertices(posed)
    assert (small.weights >= -1e-6).all()
    assert torch.allclose(small.weights.sum(1), torch.ones(len(vertices)), atol=1e-5)
    corner = small.weights.max(1).values > 1 - 1e-6
    assert torch.allclose(vertices[corner], posed[small.corners[corner, small.weights[corner].argmax(1)]], atol=1e-6)


def test_it_keeps_the_shape(rig: AnnyRig, small: Decimated) -> None:
    vertices = small.vertices(rig.template)
    draw = torch.Generator().manual_seed(0)
    some = rig.template[torch.randperm(len(rig.template), generator=draw)[:200]]
    face, weights = nearest(some, vertices, small.faces)
    away = (vertices[small.faces[face]] * weights[..., None]).sum(1) - some
    assert away.norm(dim=1).median() < 1e-3  # a millimetre
    assert away.norm(dim=1).quantile(0.95) < 5e-3


@pytest.mark.parametrize("make", [decimate, collapse])
def test_it_is_the_same_every_time(rig: AnnyRig, make: Callable[[Rig, int], Decimated]) -> None:
    for one, two in zip(make(rig, 1200), make(rig, 1200), strict=True):
        assert torch.equal(one, two)


def test_the_mesh_of_our_presets_is_a_file_that_the_shipped_weights_and_avatars_agree_with(rig: AnnyRig) -> None:
    count = load_preset("mini").faces
    assert count is not None
    small = shipped(rig, count)
    assert small is not None
    assert faces_digest(small.faces) == load_checkpoint(checkpoint.shipped()).rig
    for avatar in sorted(embedded_split().glob("*/fit/head.avatar")):
        bound = load_head(avatar).small
        assert bound is not None
        for ours, theirs in zip(small, bound, strict=True):
            assert torch.equal(ours, theirs), avatar


def test_a_mesh_for_another_version_of_the_rig_is_left_where_it_is(rig: AnnyRig) -> None:
    changed = copy.deepcopy(rig)
    changed.faces = rig.faces.flip(0)
    assert shipped(rig, 1200) is not None
    assert shipped(changed, 1200) is None
    assert len(decimate(changed, 1200).faces) == pytest.approx(1200, abs=3)


def test_what_is_written_is_what_ships(
    rig: AnnyRig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_file", lambda rig, count: tmp_path / f"{rig}_{count}.npz")
    assert shipped(rig, 300) is None
    monkeypatch.setattr("sys.argv", ["decimate", "--faces", "300"])
    module.main()
    found = shipped(rig, 300)
    assert found is not None
    assert f"anny_300.npz: {len(found.faces)} faces, {len(found.corners)} vertices" in capsys.readouterr().out
    for ours, theirs in zip(found, collapse(rig, 300), strict=True):
        assert torch.equal(ours, theirs)


def test_a_place_outside_a_triangle_goes_to_its_edge() -> None:
    vertices, faces = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]])
    points = torch.tensor([[0.2, 0.2, 5.0], [0.5, -3.0, 0.0], [2.0, 2.0, 1.0], [-1.0, -1.0, 0.0]])
    _, weights = nearest(points, vertices, faces)
    expected = [[0.6, 0.2, 0.2], [0.5, 0.5, 0], [0, 0.5, 0.5], [1, 0, 0]]
    assert np.allclose(weights.numpy(), expected, atol=1e-6)


def test_nearest_places_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(4)
    vertices, faces = rng.normal(size=(12, 3)), rng.permuted(np.tile(np.arange(12), (20, 1)), axis=1)[:, :3]
    points = rng.normal(size=(100, 3))
    face, weights = (found.numpy() for found in nearest(*map(torch.from_numpy, (points, vertices, faces))))
    found = np.linalg.norm(np.einsum("nk,nkc->nc", weights, vertices[faces[face]]) - points, axis=1)
    grid = np.array([(i, j, 60 - i - j) for i in range(61) for j in range(61 - i)]) / 60
    dense = np.einsum("gk,fkc->fgc", grid, vertices[faces]).reshape(-1, 3)
    brute = np.linalg.norm(points[:, None] - dense[None], axis=2).min(axis=1)
    assert (weights >= 0).all()
    assert (found <= brute + 1e-9).all()
    assert (brute - found).max() < 0.1


@pytest.mark.parametrize("count", [3, 10**6])
def test_a_count_that_cannot_be_is_refused(rig: AnnyRig, count: int) -> None:
    with pytest.raises(DataError, match=str(count)):
        decimate(rig, count)
