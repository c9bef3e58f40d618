"""LAM and FastAvatar by the command line, on generated data with VHAP's tracking: each frame by its own parameters."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avatarbench.dataset import camera_of, frame_number_of
from avatarbench.datasets.images import read_image
from avatarbench.datasets.layouts import write_nersemble
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.isolation.official import TOOLS
from avatarbench.run.record import read_samples
from tests.conftest import Cli
from tests.e2e.test_official_flame_driven import seen_head
from tests.standins import common

METHODS = ("lam", "fastavatar")
HEAD = (0.02, 0.03, 0.01)
"""Where the tracking has the head, metres: not in the middle of any picture."""


def expression(step: int) -> float:
    return 0.2 + step / 400


def export(data: NersembleDataset, take: str, folder: Path) -> None:
    """VHAP's export of a person's take, all cameras in one, of pictures twice as large as the data's."""
    rig = importlib.import_module("shim_rig")
    motions: list[dict[str, Any]] = []
    steps: list[tuple[str, int]] = []
    for sequence in (name for name in data.sequences() if name.startswith(f"{take}_")):
        seen = camera_of(data, sequence)
        assert seen is not None
        camera = rig.scaled_camera(vars(seen), 2 * seen.width)
        for index in range(data.length(sequence)):
            step = frame_number_of(data, sequence, index)
            flame = {name: np.zeros(size, np.float32) for name, size in rig.FLAME.items()}
            flame.update(translation=np.array(HEAD, np.float32), expr=np.full(100, expression(step), np.float32))
            motions.append({"flame": flame, "camera": camera})
            steps.append((sequence.rpartition("_")[2], step))
    rig.vhap_folder(str(folder), motions)
    path = folder / "transforms.json"
    content = json.loads(path.read_text())
    for frame, (camera_id, step) in zip(content["frames"], steps, strict=True):
        frame.update(camera_id=camera_id, timestep_id=f"frame_{step:05d}")
    path.write_text(json.dumps(content))


def test_tracked_data_drives_both_and_every_frame_shows_its_own_parameters_where_the_picture_has_the_head(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS[0].parent))
    write_nersemble(tmp_path / "data", ["501", "502"])
    data = NersembleDataset(tmp_path / "data")
    export(data, "502_FREE", tmp_path / "tracking" / "502_FREE")  # 501's motion is not the one asked for
    own = [part for name in METHODS for part in ("-m", name, f"+method.{name}.python={common.python()}")]
    for name in METHODS:
        repo = common.checkout(name, tmp_path / "code")
        own += ["--repo", f"{name}={repo}", "--weights", f"{name}={repo / 'weights'}"]
    run = ("run", "-p", "nersemble-self", "--metric", "psnr", "--limit", "2", "--data-root", tmp_path / "data")
    done = cli(*run, "--tracker", "vhap", "--tracking", tmp_path / "tracking", *own)
    assert done.returncode == 0, done.stderr + done.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    record = json.loads((folder / "run.json").read_text())
    found = {method["id"]: method for method in record["methods"]}
    assert all(found[name]["stand_in"] and found[name]["frames"] == 2 for name in METHODS)
    assert any(note.startswith("FLAME tracking of this run: sha256 ") for note in record["notes"])
    crops = json.loads((folder / "inputs.json").read_text())
    rows = read_samples(folder).to_pylist()
    assert {(row["method"], row["driver"]) for row in rows if row["reason"] is None} == {
        (name, driver) for name in METHODS for driver in ("502_FREE_220700191", "502_FREE_222200037")
    }
    for row in rows:
        sequence, index = row["driver"], row["frame"]
        image = read_image(next(folder.glob(f"predictions/{row['method']}/*/{sequence}/{index:06d}.png")))[0]
        camera, crop = camera_of(data, sequence), crops[f"nersemble/{sequence}"]
        assert camera is not None
        seen = camera.K @ (camera.world_to_camera @ [*HEAD, 1])[:3]
        middle, colour = seen_head(image)
        place = (seen[:2] / seen[2] - [crop["x"], crop["y"]]) * 512 / crop["side"]
        np.testing.assert_allclose(middle, place, atol=1.5)
        step = frame_number_of(data, sequence, index)
        np.testing.assert_allclose(colour[:2], [round(100 + 100 * expression(step)), 100], atol=2)
