"""FLAME tracking in a run: imported beside any data, handed out with its own camera, and told where it is missing."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from avatarbench.capability import obstacle
from avatarbench.dataset import camera_of, flame_of, identity_of
from avatarbench.datasets.tracked import TrackedDataset
from avatarbench.errors import DataError, UsageError
from avatarbench.isolation.official import TOOLS
from avatarbench.method import MethodSpec
from avatarbench.protocol import FrameRef, ImageContract, Manifest, Pair, ProtocolSpec, Selection
from avatarbench.run.config import load_config
from avatarbench.run.flame_check import check_flame
from avatarbench.run.inputs import Inputs
from avatarbench.run.preflight import Preflight, check_cameras

DRIVEN = MethodSpec("d", "D", "", "", "working", "MIT", needs=("image", "flame", "camera"))
PROTOCOL = ProtocolSpec(
    "p", 1, "P", "self", "", Selection("clips"), Selection("clips"), (), ("image", "mediapipe", "flame", "target")
)
CONTRACT = ImageContract(size=32, crop="none")


class Clips:
    """Two clips of four frames, 64 x 48, without a camera."""

    def sequences(self) -> list[str]:
        return ["a", "b"]

    def length(self, sequence: str) -> int:
        return 4

    def read(self, sequence: str, index: int) -> NDArray[np.uint8]:
        return np.full((48, 64, 3), 10 * index, np.uint8)

    def digest(self, sequence: str) -> str:
        return sequence

    def notes(self, sequence: str) -> list[str]:
        return []


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VHAP's export of the first three frames of ``a``, of pictures half as large."""
    monkeypatch.syspath_prepend(str(TOOLS[0].parent))
    sizes = importlib.import_module("shim_rig").FLAME
    pose = np.eye(4)
    pose[2, 3] = 1.0
    camera = {"K": [[40.0, 0, 16], [0, 40.0, 12], [0, 0, 1]], "world_to_camera": pose, "width": 32, "height": 24}
    flames = [{name: np.full(size, frame + 0.5) for name, size in sizes.items()} for frame in range(3)]
    motions: list[dict[str, Any]] = [{"flame": flame, "camera": camera} for flame in flames]
    importlib.import_module("shim_rig").vhap_folder(str(tmp_path / "exports" / "a"), motions)
    return tmp_path / "exports"


def ref(sequence: str, index: int) -> FrameRef:
    return FrameRef("clips", sequence, index, sequence)


def found(exports: Path | None, *pairs: tuple[FrameRef, FrameRef]) -> tuple[Preflight, Manifest]:
    data: Any = Clips() if exports is None else TrackedDataset(Clips(), "vhap", exports)
    manifest = Manifest("p", 1, CONTRACT, tuple(Pair(f"{s}/{d}", s, d, d) for s, d in pairs))
    return Preflight(PROTOCOL, [DRIVEN], [], {"clips": data}), manifest


class Journal:
    def read(self) -> list[dict[str, Any]]:
        return []

    def write(self, kind: str, **fields: Any) -> None: ...


def test_tracking_comes_with_the_camera_of_the_frame_as_the_run_crops_it(exports: Path) -> None:
    data = TrackedDataset(Clips(), "vhap", exports)
    flame, camera = flame_of(data, "a", 2) or pytest.fail("not tracked")
    assert (flame.expr == 2.5).all()
    assert camera.K.tolist() == [[80, 0, 32], [0, 80, 24], [0, 0, 1]]  # of whole frames, twice as large
    assert flame_of(data, "a", 3) is None
    assert flame_of(data, "b", 0) is None
    assert flame_of(Clips(), "a", 0) is None
    assert (camera_of(data, "a"), identity_of(data, "a"), data.digest("a")) == (None, "a", "a")
    inputs = Inputs({"clips": data}, CONTRACT, None, Journal())  # type: ignore[arg-type]
    _, square = inputs.flame(ref("a", 2)) or pytest.fail("not tracked")
    np.testing.assert_allclose(square.K, [[160 / 3, 0, 16], [0, 160 / 3, 16], [0, 0, 1]])  # 48 px of the middle -> 32
    assert (square.width, square.height) == (32, 32)


def test_a_clip_without_calibration_serves_where_it_is_tracked(exports: Path) -> None:
    assert obstacle(DRIVEN, PROTOCOL) is None  # its camera comes with the tracking
    preflight, manifest = found(exports, (ref("b", 0), ref("a", 1)), (ref("b", 0), ref("a", 3)))
    check_flame(preflight, manifest)
    check_cameras(preflight, manifest)
    assert preflight.optional == []
    assert preflight.notes[0].startswith("FLAME tracking of this run: sha256 ")
    assert preflight.notes[1] == "1 of 2 driver frames have no FLAME tracking"
    other, manifest = found(exports, (ref("b", 0), ref("a", 0)))
    check_flame(other, manifest)
    assert other.notes[0] != preflight.notes[0]


@pytest.mark.parametrize("tracked", [True, False])
def test_drivers_without_tracking_are_told_before_any_work(exports: Path, tracked: bool) -> None:
    preflight, manifest = found(exports if tracked else None, (ref("a", 0), ref("b", 1)))
    check_flame(preflight, manifest)
    assert preflight.without_methods == {"d": "no tracking"}
    assert preflight.optional[0].startswith(
        "method 'd' needs FLAME parameters: 'b' has no FLAME tracking. Import them with --tracker vhap"
    )


def test_a_folder_that_is_not_there_and_options_that_do_not_go_together_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder of tracking by vhap"):
        TrackedDataset(Clips(), "vhap", tmp_path / "nowhere")
    for given in ({"tracker": "vhap"}, {"tracking": "x"}, {"tracker": "dataset", "tracking": "x"}):
        with pytest.raises(UsageError, match="take a folder with tracking=DIR"):
            load_config({"methods": ["m"], "protocol": "p", **given})
