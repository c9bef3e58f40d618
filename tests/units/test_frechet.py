"""Frechet distance: known answers, merging, and covariances of low rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarbench.errors import Unscorable
from avatarbench.metrics.frechet import Gaussian, frechet_distance


def samples(n: int, d: int, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, scale, (n, d)).astype(np.float32)


def test_diagonal_gaussians_have_the_closed_form() -> None:
    mean, deviations = np.array([1.0, -2.0, 0.5]), (np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.5, 3.0]))
    a, b = (Gaussian(101, m, np.diag(s**2) * 100) for m, s in zip((np.zeros(3), mean), deviations, strict=True))
    expected = (mean**2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


@given(st.integers(1, 19), st.integers(1, 8))
@settings(deadline=None, max_examples=30)
def test_merging_the_parts_equals_the_whole(cut: int, d: int) -> None:
    rows = samples(20, d, seed=cut, shift=50.0)
    whole, merged = Gaussian.of(rows), Gaussian.of(rows[:cut]).merge(Gaussian.of(rows[cut:]))
    assert merged.n == whole.n
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.scatter, whole.scatter, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(
        whole.covariance, np.atleast_2d(np.cov(rows.astype(np.float64), rowvar=False)), atol=1e-9
    )


def test_a_set_is_at_distance_zero_from_itself_and_from_its_permutation() -> None:
    for n in (5, 200):  # fewer and more samples than dimensions
        rows = samples(n, 32)
        shuffled = rows[np.random.default_rng(1).permutation(n)]
        assert frechet_distance(Gaussian.of(rows), Gaussian.of(shuffled)) == pytest.approx(0, abs=1e-10)


def test_it_is_symmetric_and_moves_with_a_shift_by_its_square() -> None:
    a, b = Gaussian.of(samples(10, 40)), Gaussian.of(samples(14, 40, seed=1, scale=2.0))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    moved = Gaussian(a.n, a.mean + 3.0, a.scatter)
    assert frechet_distance(a, moved) == pytest.approx(9.0 * 40, rel=1e-10)


def test_low_rank_sets_in_orthogonal_directions_keep_all_their_variance() -> None:
    a, b = np.zeros((3, 6), np.float32), np.zeros((3, 6), np.float32)
    a[:, 0], b[:, 3] = (-1, 0, 1), (-2, 0, 2)
    assert frechet_distance(Gaussian.of(a), Gaussian.of(b)) == pytest.approx(1 + 4, rel=1e-12)


def test_one_frame_has_no_covariance() -> None:
    with pytest.raises(Unscorable, match="two frames a side, here 1 and 5"):
        frechet_distance(Gaussian.of(samples(1, 3)), Gaussian.of(samples(5, 3)))
