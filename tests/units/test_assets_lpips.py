"""The converted LPIPS backbones: names, shapes and values that torchvision's networks take without a change."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load, load_file

from avatarbench import assets
from avatarbench.assets.catalogue import CATALOGUE, Asset, Conversion, OwnerUrl
from avatarbench.assets.convert import lpips_backbone
from avatarbench.errors import AssetError


@pytest.mark.parametrize(
    ("id", "network", "count", "parameters"),
    [
        ("lpips-alexnet", torchvision.models.alexnet, 10, 2_469_696),
        ("lpips-vgg16", torchvision.models.vgg16, 26, 14_714_688),
    ],
)
def test_the_real_file_loads_strictly_into_torchvision(id: str, network: type, count: int, parameters: int) -> None:
    tensors = load_file(assets.pull(id))
    assert len(tensors) == count
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert sum(tensor.numel() for tensor in tensors.values()) == parameters
    features = network(weights=None).features
    features.load_state_dict({name.removeprefix("features."): t for name, t in tensors.items()}, strict=True)


def test_the_first_kernels_are_the_ones_torchvision_publishes() -> None:
    """Values that ``print(model.features[0].weight)`` of the pretrained torchvision networks shows."""
    alexnet = load_file(assets.pull("lpips-alexnet"))["features.0.weight"][0, 0, 0]
    torch.testing.assert_close(
        alexnet[[0, 1, 2, -3, -2, -1]],
        torch.tensor([1.1864e-01, 9.4069e-02, 9.5435e-02, 5.5822e-02, 2.1575e-02, 4.9963e-02]),
        rtol=1e-4,
        atol=0,
    )
    vgg16 = load_file(assets.pull("lpips-vgg16"))["features.0.weight"][0, 0]
    expected = torch.tensor([[-0.5537, 0.1427, 0.5290], [-0.5831, 0.3566, 0.7657], [-0.6902, -0.0480, 0.4841]])
    torch.testing.assert_close(vgg16, expected, rtol=0, atol=6e-5)


def toy_pickle(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """A pickle laid out as the port lays out AlexNet, with small rectangular kernels (H, W, I, O)."""
    rng = np.random.default_rng(7)
    net = {
        f"Conv_{i}": {
            "kernel": rng.normal(size=(2, 3, 4, 5)).astype(np.float32),
            "bias": rng.normal(size=5).astype(np.float32),
        }
        for i in range(5)
    }
    path.write_bytes(pickle.dumps({"AlexNet_0": net, "NetLinLayer_0": {}}, 3).replace(b"numpy._core", b"numpy.core"))
    return net


def test_a_converted_kernel_convolves_as_the_original_does(tmp_path: Path) -> None:
    net = toy_pickle(tmp_path / "toy.ckpt")
    tensors = load(lpips_backbone(tmp_path / "toy.ckpt", "alexnet"))
    patch = np.random.default_rng(8).normal(size=(2, 3, 4)).astype(np.float32)  # (H, W, I)
    for i, layer in enumerate((0, 3, 6, 8, 10)):
        conv = net[f"Conv_{i}"]
        expected = np.einsum("hwi,hwio->o", patch, conv["kernel"]) + conv["bias"]
        image = torch.from_numpy(patch).permute(2, 0, 1)[None]
        weight, bias = tensors[f"features.{layer}.weight"], tensors[f"features.{layer}.bias"]
        found = torch.nn.functional.conv2d(image, weight, bias).flatten()
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_the_conversion_is_deterministic(tmp_path: Path) -> None:
    toy_pickle(tmp_path / "toy.ckpt")
    once, again = (hashlib.sha256(lpips_backbone(tmp_path / "toy.ckpt", "alexnet")).hexdigest() for _ in range(2))
    assert once == again


def test_a_port_file_brought_by_hand_is_converted_offline_after_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_pickle(tmp_path / "toy.ckpt")
    raw = hashlib.sha256((tmp_path / "toy.ckpt").read_bytes()).hexdigest()
    ready = hashlib.sha256(lpips_backbone(tmp_path / "toy.ckpt", "alexnet")).hexdigest()
    conversion = Conversion("toy.ckpt", raw, "alexnet")
    nowhere = (OwnerUrl("http://weights.invalid/toy"),)
    asset = Asset("toy", "a toy", "CC0", "toy.safetensors", ready, None, nowhere, conversion)
    monkeypatch.setitem(CATALOGUE, "toy", asset)
    monkeypatch.setenv("AVATARBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AVATARBENCH_ASSETS", str(tmp_path))
    monkeypatch.setenv("AVATARBENCH_OFFLINE", "1")
    assert assets.state("toy") == "missing"
    assert len(load_file(assets.pull("toy"))) == 10
    assert assets.path("toy") == tmp_path / "cache" / "assets" / "toy.safetensors"
    assets.path("toy").unlink()
    (tmp_path / "toy.ckpt").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    with pytest.raises(AssetError, match=f"before conversion(?s:.*){raw}"):
        assets.pull("toy")
