"""``clip`` against open_clip's own factory and transform, from one randomly initialised file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avatarbench.errors import AssetError
from avatarbench.metrics.clip import Clip, ClipEmbedding
from tests.oracles import reference


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
