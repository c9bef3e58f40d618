"""``kid`` against torch-fidelity (same draws) and torchmetrics (whole sets)."""

from __future__ import annotations

import numpy as np

from avatarbench.metrics import kid
from tests.oracles import reference


def features(n: int, seed: int, shift: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (n, 64)).astype(np.float32)


def test_whole_sets_equal_torch_fidelity_and_torchmetrics() -> None:
    a, b = features(30, 0, 0.0), features(30, 1, 0.2)
    metric = kid.Kid()
    value = metric.value(metric.statistics(a), metric.statistics(b))
    assert reference.relative(value, reference.kid_torch_fidelity(a, b, 30)) < 1e-9
    assert reference.relative(value, reference.kid_torchmetrics(a, b)) < 1e-9


def test_subsets_are_drawn_as_torch_fidelity_draws_them() -> None:
    a, b = features(30, 0, 0.0), features(50, 1, 0.2)
    metric = kid.Kid()
    value = metric.value(metric.statistics(a), metric.statistics(b))
    assert reference.relative(value, reference.kid_torch_fidelity(a, b, 30)) < 1e-9
