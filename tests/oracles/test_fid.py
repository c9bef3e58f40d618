"""``fid`` against torch-fidelity and pytorch-fid, from one randomly initialised Inception file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avatarbench.metrics.frechet import Gaussian, frechet_distance
from avatarbench.metrics.inception import Inception
from tests.oracles import reference


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reference.random_inception(tmp_path_factory.mktemp("inception") / "inception.pth")


def ours(weights: Path, images: list[reference.Image]) -> np.ndarray:
    found = Inception(weights=weights).extract(reference.frames(images), activations=False)
    return np.stack([features["pooled"] for features in found])  # type: ignore[index]


def test_features_equal_torch_fidelity_resize_included(weights: Path) -> None:
    images = [p for p, _ in reference.image_pairs(3, size=128)]
    theirs = reference.inception_torch_fidelity(weights, images)
    assert theirs.std() > 0.01
    np.testing.assert_allclose(ours(weights, images), theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


def test_features_equal_pytorch_fid_at_its_own_size_and_behind_a_resize_written_from_the_rule(weights: Path) -> None:
    (picture, _), *_ = reference.image_pairs(1, size=340)
    images = [picture[:height, :width] for height, width in ((299, 299), (128, 170), (340, 300))]
    theirs = reference.inception_pytorch_fid(weights, images)
    np.testing.assert_allclose(ours(weights, images), theirs, rtol=1e-5, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("count", [6, 40])
def test_distance_equals_three_implementations(count: int) -> None:
    draw = np.random.default_rng(3)
    a, b = draw.normal(size=(count, 24)), draw.normal(0.3, 1.4, size=(count + 3, 24))
    value = frechet_distance(Gaussian.of(a.astype(np.float32)), Gaussian.of(b.astype(np.float32)))
    a, b = a.astype(np.float32), b.astype(np.float32)
    assert reference.relative(value, reference.frechet_scipy(a, b)) < 1e-6
    assert reference.relative(value, reference.frechet_torch_fidelity(a, b)) < 1e-6
    assert reference.relative(value, reference.frechet_pytorch_fid(a, b)) < 1e-4  # its eps on singular products
