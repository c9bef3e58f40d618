"""``fd-vgg`` against torchvision's network and scipy's matrix square root."""

from __future__ import annotations

import numpy as np

from tests.oracles import reference


def test_equals_torchvision_features_and_scipy_sqrtm() -> None:
    model = reference.torchvision_vgg()
    pairs = reference.image_pairs(6)
    predictions, targets = [p for p, _ in pairs], [t for _, t in pairs]
    ours = reference.ours_on_sets("fd-vgg", predictions, targets)
    theirs = [np.stack([reference.vgg_pooled(model, i) for i in images]) for images in (predictions, targets)]
    # Six frames in 512 dimensions: scipy's root of the singular product is good to the square root of its rounding.
    assert reference.relative(ours, reference.frechet_scipy(*theirs)) < 1e-4
    assert ours == reference.ours_on_sets("fd-vgg", predictions, targets, batch=1)
