"""What the decoder is trained to make small, beside the metrics that it stands in for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avatarbench import assets
from avatarbench.methods.pointillist.decoder.loss import Perceptual, Terms, terms, weighted
from avatarbench.metrics.alexnet import AlexNet
from avatarbench.metrics.features import Frame
from avatarbench.metrics.lpips import LpipsAlex
from tests.decoder_tiny import tiny_decoder


def pictures(seed: int, count: int = 2, size: int = 48) -> torch.Tensor:
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def perceptual() -> Perceptual:
    assets.pull("lpips-alexnet")
    return Perceptual("alex", torch.device("cpu"))


def test_its_perceptual_term_is_the_metric(perceptual: Perceptual) -> None:
    ours, theirs = (np.rint(pictures(seed).numpy() * 255).astype(np.uint8) for seed in (0, 1))
    found = perceptual(*(torch.from_numpy(part / np.float32(255)) for part in (ours, theirs)))
    trunk = AlexNet()
    for number in range(2):
        frames = [Frame(part[number]) for part in (ours, theirs)]
        for frame, features in zip(frames, trunk.extract(frames, True), strict=True):
            frame.put("alexnet", features)
        assert float(found[number]) == pytest.approx(LpipsAlex()(*frames), rel=1e-4)


def test_its_perceptual_term_is_zero_for_equal_pictures_and_has_a_gradient(perceptual: Perceptual) -> None:
    image, target = pictures(0).requires_grad_(), pictures(1)
    assert float(perceptual(target, target).max()) == 0
    assert not any(parameter.requires_grad for parameter in perceptual.parameters())
    (gradient,) = torch.autograd.grad(perceptual(image, target).sum(), image)
    step = 0.005 * gradient / gradient.abs().max()
    with torch.no_grad():
        change = float((perceptual(image - step, target) - perceptual(image, target)).sum())
    assert change == pytest.approx(-float((step * gradient).sum()), rel=0.1)


def test_a_white_picture_has_a_finite_gradient(perceptual: Perceptual) -> None:
    image = torch.ones(1, 48, 48, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(perceptual(image, torch.zeros(1, 48, 48, 3)).sum(), image)
    assert bool(torch.isfinite(gradient).all())


def test_the_terms_of_known_pictures_and_offsets() -> None:
    images = pictures(2)
    same = terms(images, images, torch.zeros(5, 3), None, 0.1)
    assert [float(term) for term in same] == pytest.approx([0, 0, 0, 0], abs=1e-6)
    shifted = terms(images * 0.5, images * 0.5 + 0.25, torch.tensor([[0.1, 0, 0], [0.0, 0, 0]]), None, 0.1)
    assert float(shifted.l1) == pytest.approx(0.25)
    assert float(shifted.offset) == pytest.approx(0.5)  # one of two is as far as it can go along an axis


def test_the_terms_are_weighted_as_the_paper_does() -> None:
    config = tiny_decoder(weights={"l1": 1.0, "ssim": 0.5, "lpips": 0.1, "offset": 0.1})
    found = weighted(Terms(*(torch.tensor(value) for value in (1.0, 2.0, 3.0, 4.0))), config)
    assert float(found) == pytest.approx(1 + 0.5 * 2 + 0.1 * 3 + 0.1 * 4)
