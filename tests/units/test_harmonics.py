"""Spherical harmonics beside scipy's, and the colour they give a camera."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from avatarbench.gaussians.harmonics import basis, colours, degree_of


def _real(order: int, m: int, theta: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Real harmonics with the Condon-Shortley phase, from scipy's complex ones."""
    value = sph_harm_y(order, abs(m), theta, phi)
    if m == 0:
        return value.real
    return math.sqrt(2) * (value.imag if m < 0 else value.real)


def test_basis_is_scipys_real_harmonics() -> None:
    draw = np.random.default_rng(0)
    directions = draw.normal(size=(200, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    theta, phi = np.arccos(directions[:, 2]), np.arctan2(directions[:, 1], directions[:, 0])
    found = basis(torch.from_numpy(directions), 3).numpy()
    expected = [_real(order, m, theta, phi) for order in range(4) for m in range(-order, order + 1)]
    assert np.abs(found - np.stack(expected, 1)).max() < 1e-12


def test_a_constant_harmonic_is_one_colour_from_everywhere() -> None:
    coefficients = torch.zeros(1, 16, 3)
    coefficients[0, 0] = torch.tensor([1.0, 0.0, -9.0])
    views = torch.eye(4).repeat(3, 1, 1)
    views[:, :3, 3] = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    found = colours(coefficients, torch.zeros(1, 3), views)
    assert torch.allclose(found, torch.tensor([0.5 + 0.28209479, 0.5, 0.0]).expand(3, 1, 3))


def test_colour_depends_on_the_direction_from_the_camera() -> None:
    coefficients = torch.zeros(1, 4, 3)
    coefficients[0, 2] = 1.0  # along z
    front, back = torch.eye(4), torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    front[2, 3] = back[2, 3] = 2.0
    found = colours(coefficients, torch.zeros(1, 3), torch.stack([front, back]))
    assert found[0, 0, 0] == pytest.approx(0.5 + math.sqrt(3 / (4 * math.pi)), abs=1e-5)
    assert found[1, 0, 0] == pytest.approx(0.5 - math.sqrt(3 / (4 * math.pi)), abs=1e-5)


def test_a_count_that_no_degree_has_is_refused() -> None:
    with pytest.raises(ValueError, match="5 coefficients"):
        degree_of(5)
