"""Eq. 5's transfer is made once: frames touch the points alone, and no frame runs the rig."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch

from avatarbench.errors import DataError
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import GaussianHead, load_head
from avatarbench.heads.anny import load_anny
from avatarbench.heads.decimate import Decimated
from avatarbench.heads.rig import Rig
from benchmarks import animate


@pytest.fixture(scope="module")
def head() -> GaussianHead:
    return animate.mini_head(40)


def test_a_frame_of_the_barycentric_form_never_runs_the_rig(
    head: GaussianHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    expression, joints, place = head.neutral()
    first = head.posed(expression + 0.2, joints + 0.1, place)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the whole rig was run for one frame")

    for owner, name in ((Rig, "forward"), (Rig, "rest"), (Decimated, "vertices"), (Decimated, "rig")):
        monkeypatch.setattr(owner, name, refuse)
    again = head.posed(expression + 0.2, joints + 0.1, place)
    assert torch.equal(again.means, first.means)
    with pytest.raises(AssertionError, match="the whole rig"):
        head.posed(expression, joints, place, "frames")


@pytest.mark.parametrize("whole", [False, True], ids=["decimated", "whole rig"])
def test_the_transfer_moves_points_as_the_rig_run_anew_each_frame_does(whole: bool) -> None:
    head = animate.whole_head(40) if whole else animate.mini_head(40)
    peer = animate.Peer(head)
    for pose in animate.poses(head, 3):
        ours, theirs = head.posed(*pose), peer.posed(*pose)
        assert torch.allclose(ours.means, theirs.means, atol=animate.TOLERANCE)
        cosine = (ours.quaternions * theirs.quaternions).sum(1).abs()
        assert torch.allclose(cosine, torch.ones_like(cosine), atol=1e-5)


def test_how_a_head_moves_is_in_its_file_only_where_it_is_not_the_usual_way(head: GaussianHead, tmp_path: Path) -> None:
    head.save(tmp_path / "a.avatar")
    usual = GaussianHead(head.cloud, head.rig, head.shape, head.small)
    usual.save(tmp_path / "b.avatar")
    metas = [json.loads(zipfile.ZipFile(tmp_path / name).read("avatar.json")) for name in ("a.avatar", "b.avatar")]
    assert [meta.get("form") for meta in metas] == ["barycentric", None]
    assert [load_head(tmp_path / name).form for name in ("a.avatar", "b.avatar")] == ["barycentric", "frames"]


def test_a_file_that_moves_in_an_unknown_way_is_refused(head: GaussianHead, tmp_path: Path) -> None:
    head.save(tmp_path / "a.avatar")
    with zipfile.ZipFile(tmp_path / "a.avatar") as old, zipfile.ZipFile(tmp_path / "c.avatar", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b'"barycentric"', b'"by magic"') if name == "avatar.json" else content)
    with pytest.raises(DataError, match=r"c\.avatar: its avatar\.json says that it moves by 'by magic'"):
        load_head(tmp_path / "c.avatar")


def test_a_gaussian_keeps_its_size_whatever_the_face_does(head: GaussianHead) -> None:
    expression, joints, place = head.neutral()
    posed = head.posed(expression + 0.5, joints + 0.2, place)
    assert isinstance(posed, Cloud)
    assert torch.equal(posed.scales, head.cloud.scales)
    assert head.rig.name == load_anny().name
