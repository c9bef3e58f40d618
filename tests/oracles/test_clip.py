"""``clip`` against open_clip's own factory and transform, from one randomly initialised file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from avatarbench import assets
from avatarbench.assets.catalogue import CATALOGUE
from avatarbench.assets.store import file_sha256
from avatarbench.errors import AssetError
from avatarbench.metrics.clip import Clip, ClipEmbedding, preprocess
from avatarbench.metrics.features import Missing
from tests.oracles import reference

TINY = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 1, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reference.random_clip(tmp_path_factory.mktemp("clip") / "clip.safetensors")


def test_embedding_and_cosine_equal_open_clip(weights: Path) -> None:
    images = [*reference.image_pairs(1, size=200)[0], reference.image_pairs(1, size=90)[0][0][:60]]
    theirs = reference.clip_embedding(weights, images)
    frames = reference.frames(images)
    for frame, found in zip(frames, ClipEmbedding(weights=weights).extract(frames, False), strict=True):
        frame.put("clip", found)
    for frame, row in zip(frames, theirs, strict=True):
        np.testing.assert_allclose(frame["clip"]["embedding"], row, rtol=1e-4, atol=1e-5 * np.abs(row).max())
    a, b = theirs[0].astype(np.float64), theirs[2].astype(np.float64)
    cosine = a @ b / np.sqrt((a @ a) * (b @ b))
    assert reference.relative(Clip()(frames[0], frames[2]), cosine) < 1e-5


def test_a_torchscript_file_that_is_not_the_pinned_asset_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    with pytest.raises(AssetError, match="TorchScript"):
        ClipEmbedding(weights=path).extract(reference.frames([reference.image_pairs(1)[0][0]]), False)


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, open_clip.CLIP]:
    """A small network in the form of OpenAI's release, pinned as the asset, and the float32 network it was made from:
    a half-precision TorchScript archive with three numbers among its tensors."""
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: TINY)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network, archived = open_clip.CLIP(**TINY).eval(), open_clip.CLIP(**TINY).eval()
    network.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    archived.load_state_dict(network.state_dict())
    archived.attn_mask = None
    for name, value in (("input_resolution", 224), ("context_length", 8), ("vocab_size", 32)):
        archived.__dict__.pop(name, None)
        archived.register_buffer(name, torch.tensor(value))
    folder = tmp_path / "assets"
    folder.mkdir()
    path = folder / assets.get("open-clip").filename
    torch.jit.save(torch.jit.trace_module(archived, {"encode_image": torch.zeros(1, 3, 224, 224)}).half(), path)
    monkeypatch.setenv("AVATARBENCH_ASSETS", str(folder))
    monkeypatch.setenv("AVATARBENCH_CACHE", str(tmp_path / "cache"))
    pinned = replace(assets.get("open-clip"), sha256=file_sha256(path))
    monkeypatch.setitem(CATALOGUE, "open-clip", pinned)
    return path, network


def test_the_pinned_half_precision_archive_computes_in_float32(release: tuple[Path, open_clip.CLIP]) -> None:
    path, network = release
    archived = torch.jit.load(path).state_dict()
    assert {"input_resolution", "context_length", "vocab_size"} <= archived.keys()
    assert archived["visual.proj"].dtype == torch.float16
    (frame,) = reference.frames([reference.image_pairs(1, size=120)[0][0]])
    (found,) = ClipEmbedding().extract([frame], False)
    assert not isinstance(found, Missing)
    with torch.inference_mode():
        expected = network.encode_image(preprocess(frame)[None])[0].numpy()
    assert found["embedding"].dtype == np.float32
    np.testing.assert_allclose(found["embedding"], expected, rtol=1e-5, atol=1e-6)


def test_an_archive_changed_behind_its_stamp_is_not_opened(release: tuple[Path, open_clip.CLIP]) -> None:
    path, _ = release
    assets.path("open-clip")  # hashed once, and trusted by size and time since
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(AssetError, match="wrong hash"):
        ClipEmbedding().extract(reference.frames([reference.image_pairs(1)[0][0]]), False)
