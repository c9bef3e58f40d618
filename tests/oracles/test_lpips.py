"""``lpips-alex`` and ``lpips-vgg`` against the lpips package with the same trunk weights."""

from __future__ import annotations

import pytest
import torch

from tests.oracles import reference


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_equals_the_lpips_package(net: str) -> None:
    model = reference.lpips_package(net)
    pairs = reference.image_pairs()
    for value, images in zip(reference.ours_on_pairs(f"lpips-{net}", pairs), pairs, strict=True):
        with torch.inference_mode():
            theirs = model(*map(reference.lpips_input, images)).item()
        assert reference.relative(value, theirs) < 1e-5


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_does_not_move_with_the_batch_size(net: str) -> None:
    reference.assets.pull(reference.ASSET[net])
    pairs = reference.image_pairs()
    assert reference.ours_on_pairs(f"lpips-{net}", pairs, 1) == reference.ours_on_pairs(f"lpips-{net}", pairs, 8)


def test_identical_images_are_at_distance_zero() -> None:
    reference.assets.pull("lpips-alexnet")
    image = reference.image_pairs(1)[0][1]
    assert reference.ours_on_pairs("lpips-alex", [(image, image.copy())]) == [0.0]
