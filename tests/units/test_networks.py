"""Weights are read safely, and a wrong file says what is wrong."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avatarbench.errors import AssetError
from avatarbench.metrics import networks, sixdrepnet360
from avatarbench.metrics.alexnet import AlexNet
from avatarbench.metrics.engine import load_extractor
from avatarbench.metrics.features import Frame, Missing
from avatarbench.metrics.networks import Weights, batches, fingerprint, read_state_dict, versions
from avatarbench.metrics.trunk import Trunk
from avatarbench.metrics.vgg16 import Vgg16


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in (("raw.pth", pickle.dumps(Hostile())), ("zip.pth", None)):
        path = tmp_path / name
        path.write_bytes(content) if content else torch.save({"x": Hostile()}, path)
        with pytest.raises(AssetError, match=name):
            read_state_dict(path)
    assert "executed" not in capsys.readouterr().out


def test_plain_and_safetensors_files_give_the_same_tensors(tmp_path: Path) -> None:
    state = {"w": torch.arange(4.0)}
    torch.save(state, tmp_path / "w.pth")
    save_file(state, tmp_path / "w.safetensors")
    for name in ("w.pth", "w.safetensors"):
        torch.testing.assert_close(read_state_dict(tmp_path / name)["w"], state["w"])


def test_a_truncated_or_missing_file_is_an_asset_error(tmp_path: Path) -> None:
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    for name in ("cut.safetensors", "absent.safetensors", "absent.pth"):
        with pytest.raises(AssetError, match=name.replace(".", r"\.")):
            read_state_dict(tmp_path / name)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(AssetError, match="does not fit vgg16"):
        Vgg16(weights=tmp_path / "other.safetensors").extract([Frame(np.zeros((40, 40, 3), np.uint8))], False)


@pytest.mark.parametrize(("trunk", "parameters"), [(AlexNet, 2_469_696), (Vgg16, 14_714_688)])
def test_only_the_layers_that_are_read_are_made(trunk: type[Trunk], parameters: int, tmp_path: Path) -> None:
    """Each with a classifier of a hundred million numbers, which would be drawn at random for nothing."""
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in trunk().features().state_dict().items()}
    save_file(
        {f"features.{k}": torch.zeros(s, dtype=torch.float16) for k, s in shapes.items()}, tmp_path / "w.safetensors"
    )
    before = torch.get_rng_state()
    made = list(trunk(weights=tmp_path / "w.safetensors")._layers.parameters())
    assert torch.equal(torch.get_rng_state(), before)
    assert sum(p.numel() for p in made) == parameters
    assert {(p.device.type, p.dtype, p.requires_grad) for p in made} == {("cpu", torch.float32, False)}


def test_a_frame_too_small_for_the_network_is_missing_and_loads_no_weights(tmp_path: Path) -> None:
    (found,) = Vgg16(weights=tmp_path / "absent").extract([Frame(np.zeros((16, 40, 3), np.uint8))], False)
    assert found == Missing("image is 40x16, vgg16 needs at least 32 pixels a side")


def test_the_fingerprint_moves_with_weights_version_and_preprocessing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    a, b = (Weights("lpips-vgg16", tmp_path / name).sha256 for name in "ab")
    prints = {
        fingerprint("x", 1, a, {}),
        fingerprint("x", 1, b, {}),
        fingerprint("x", 2, a, {}),
        fingerprint("y", 1, a, {}),
    }
    assert len({*prints, fingerprint("x", 1, a, {"size": 299})}) == 5
    assert fingerprint("x", 1, a, {"size": 299}) == fingerprint("x", 1, a, {"size": 299})


def test_batches_hold_one_size_and_cover_every_frame() -> None:
    frames = [Frame(np.zeros((h, 4, 3), np.uint8)) for h in (4, 5, 4, 4, 5)]
    assert sorted(i for batch in batches(frames, "cuda") for i in batch) == [0, 1, 2, 3, 4]
    assert all(len({frames[i].image.shape for i in batch}) == 1 for batch in batches(frames, "cuda"))
    for device in ("cpu", "cpu:0"):
        assert all(len(batch) == 1 for batch in batches(frames, device))


@pytest.mark.parametrize(
    ("extractor", "distribution"),
    [
        ("face", "mediapipe"),
        ("dlib", "dlib-bin"),
        ("arcface", "scikit-image"),
        ("arcface", "onnxruntime"),
        ("6drepnet360", "torchvision"),
        ("6drepnet360", "pillow"),
        ("inception", "torch-fidelity"),
        ("clip", "open-clip-torch"),
        ("clip", "torchvision"),
        ("clip", "pillow"),
    ],
)
def test_another_version_of_a_package_that_computes_a_number_changes_the_fingerprint(
    extractor: str, distribution: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = load_extractor(extractor)
    before, real = kind().fingerprint, networks.version
    monkeypatch.setattr(networks, "version", lambda name: "0.0.1" if name == distribution else real(name))
    assert kind().fingerprint != before


def test_a_package_that_is_not_installed_is_named() -> None:
    assert versions("no-such-thing|numpy") == {"no-such-thing|numpy": np.__version__}
    with pytest.raises(AssetError, match="not installed: no-such-thing or nor-this"):
        versions("no-such-thing|nor-this")


@pytest.fixture
def _tf32_allowed() -> Iterator[None]:
    switches: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = True
    yield
    for switch, value in zip(switches, before, strict=True):
        switch.allow_tf32 = value


@pytest.mark.usefixtures("_tf32_allowed")
def test_the_pose_network_does_not_compute_in_tf32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def network(pixels: torch.Tensor) -> torch.Tensor:
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return torch.eye(3)[None]

    monkeypatch.setattr(sixdrepnet360, "load_network", lambda *_: network)
    frame = Frame(np.zeros((64, 64, 3), np.uint8))
    frame.put("face", {"landmarks": np.linspace(10, 50, 6, dtype=np.float32).reshape(2, 3)})
    sixdrepnet360.SixDRepNet360(checkpoint=tmp_path / "unread").extract([frame])
    assert seen == [(False, False)]
    assert torch.backends.cudnn.allow_tf32
