"""Training people whom VHAP tracked: clouds and portraits on FLAME, made here with a synthetic FLAME."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from avatarbench.errors import DataError
from avatarbench.fitting.config import FitConfig
from avatarbench.methods.pointillist import build_crew, build_flame, build_request
from avatarbench.methods.pointillist.build_crew import Built
from avatarbench.methods.pointillist.build_person import Job
from avatarbench.methods.pointillist.build_request import Request, export_of
from avatarbench.methods.pointillist.build_set import build_set
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.training_set import TrainingSet
from avatarbench.openheads.cameras import FRONTAL
from tests.units.test_fit_subjects import CAMERAS, Synthetic, config, export
from tests.units.test_fit_subjects import flame as flame  # the fixture
from tests.units.test_pixel3dmm import frame, saved

FIT = {"steps": 4, "refine": False, "device": "cpu", "checkpoint_every": 2}


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, flame: Synthetic) -> None:
    """One process, and the synthetic rig, read and decimated once."""

    def run(
        jobs: Sequence[Job], workers: int, look: Callable[[list[int]], None], then: Callable[[Built], None]
    ) -> None:
        for job in jobs:
            then(build_crew.attempt(job, lambda progress: None))

    monkeypatch.setattr(build_crew, "run", run)
    monkeypatch.setattr("avatarbench.heads.flame.load_flame", lambda teeth: flame.rig)
    monkeypatch.setattr(build_request, "decimate", lambda rig, count: flame.small)


def request(exports: Path, out: Path, flame: Synthetic, monocular: Path | None = None) -> Request:
    model = Config(rig="flame-teeth", faces=len(flame.small.faces))
    fit: FitConfig = config(**FIT)
    return Request(exports, out, model, fit, tracking=exports, monocular=monocular)


def test_exports_become_clouds_and_portraits_on_flame(tmp_path: Path, flame: Synthetic) -> None:
    export(tmp_path / "exports" / "306_EMO-1_v16_DS4", flame)
    rows = build_set(request(tmp_path / "exports", tmp_path / "set", flame))
    assert [(row.person, row.error, row.portraits) for row in rows] == [("306", "", 4)]
    found = TrainingSet(tmp_path / "set")
    assert found.tokenizer.up == "y"
    assert torch.equal(found.faces, flame.small.faces)
    assert len(found.cloud("306").positions) == rows[0].points > 0
    first = [f"EMO-1/00000/{camera}" for camera in CAMERAS]
    assert [p["of"] for p in found.described["306"]["portraits"]] == [
        *first, f"EMO-1/00001/{FRONTAL}", f"EMO-1/00002/{FRONTAL}",
    ]  # fmt: skip
    for portrait, key in zip(found.portraits("306"), [(0, 0), (0, 1), (1, 0), (2, 0)], strict=True):
        assert np.array_equal(portrait.image, flame.pictures[key])
        assert torch.equal(portrait.vertices, found.rest("306"))  # VHAP's head is one for all pictures
    tracked = found.tracking("306")
    assert tracked["expr"].shape == (4, 100)
    assert tracked["expr"][:, 0].tolist() == [0, 0, 1, 2]  # of the portraits' own time steps
    before = sorted(p.read_bytes() for p in (tmp_path / "set" / "306").iterdir() if p.name != "timing.json")
    build_set(request(tmp_path / "exports", tmp_path / "set", flame))
    assert before == sorted(p.read_bytes() for p in (tmp_path / "set" / "306").iterdir() if p.name != "timing.json")


def test_a_monocular_tracker_gives_every_portrait_its_own_head(tmp_path: Path, flame: Synthetic) -> None:
    export(tmp_path / "exports" / "306_EMO-1_v16", flame)
    values = frame()
    values["flame"]["shape"] = np.eye(1, 300, 0).astype(np.float32)
    mono = tmp_path / "mono"
    saved(mono / f"306_EMO-1_{FRONTAL}", frame(), 0)
    saved(mono / f"306_EMO-1_{FRONTAL}", values, 2)
    rows = build_set(request(tmp_path / "exports", tmp_path / "set", flame, mono))
    assert rows[0].error == ""
    left = f"{build_flame.Place('EMO-1', 1, FRONTAL)}: Pixel3DMM did not track it"
    assert rows[0].left == [f"EMO-1/00000/{CAMERAS[1]}: Pixel3DMM did not track it", left]
    found = TrainingSet(tmp_path / "set")
    first, last = found.portraits("306")
    expected = flame.rig.rest(torch.eye(1, 300), torch.zeros(1, 0))[0][0]
    torch.testing.assert_close(last.vertices, flame.small.vertices(expected))
    assert not torch.equal(first.vertices, last.vertices)
    shutil.rmtree(mono)
    (mono / "307_EMO-1_1").mkdir(parents=True)
    with pytest.raises(DataError, match=r"mono has no tracking of person '306': it is to lie in folders such as 306_"):
        build_set(request(tmp_path / "exports", tmp_path / "other", flame, mono))


def test_somebody_without_an_export_is_left_out(tmp_path: Path, flame: Synthetic) -> None:
    exports = tmp_path / "exports"
    export(exports / "306_EMO-1_v16", flame)
    for name in ("307_EMO-1", "307_EMO-2"):
        (exports / name).mkdir()
    rows = build_set(request(exports, tmp_path / "set", flame))
    assert [row.error == "" for row in rows] == [True, False]
    assert "is to have one export of person '307', a folder 307 or 307_..., and has several: 307_EMO-1" in rows[1].error
    (exports / "307").mkdir()
    assert export_of(exports, "307") == exports / "307"


def test_the_frontal_camera_is_the_one_that_the_face_looks_into(
    tmp_path: Path, flame: Synthetic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_flame, "FRONTAL", "none of them")
    export(tmp_path / "exports" / "306_EMO-1", flame)
    build_set(request(tmp_path / "exports", tmp_path / "set", flame))
    portraits = TrainingSet(tmp_path / "set").described["306"]["portraits"]
    assert portraits[0]["of"] == f"EMO-1/00000/{CAMERAS[0]}"  # at 0 degrees; the other is at 29
