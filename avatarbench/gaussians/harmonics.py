"""Real spherical harmonics to degree 3, in the order and sign that splatting codes store them (Kerbl et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CONSTANT = 0.5 / math.sqrt(math.pi)
DEGREES = (0, 1, 2, 3)


def count_of(degree: int) -> int:
    """Coefficients up to a degree."""
    return (degree + 1) ** 2


def degree_of(count: int) -> int:
    """The degree that has ``count`` coefficients. Raises ValueError for a count that no degree up to 3 has."""
    for degree in DEGREES:
        if count_of(degree) == count:
            return degree
    raise ValueError(f"{count} coefficients belong to no degree: 1, 4, 9 and 16 do")


def basis(directions: Tensor, degree: int) -> Tensor:
    """(..., K) values of the harmonics for unit ``directions`` (..., 3), with the Condon-Shortley phase."""
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, CONSTANT)]
    if degree >= 1:
        first = math.sqrt(3 / (4 * math.pi))
        values += [-first * y, first * z, -first * x]
    if degree >= 2:
        second = math.sqrt(15 / (4 * math.pi))
        values += [
            second * x * y,
            -second * y * z,
            0.25 * math.sqrt(5 / math.pi) * (2 * z * z - x * x - y * y),
            -second * x * z,
            0.5 * second * (x * x - y * y),
        ]
    if degree >= 3:
        a, b, c = (math.sqrt(n / math.pi) for n in (35 / 32, 105 / 4, 21 / 32))
        values += [
            -a * y * (3 * x * x - y * y),
            b * x * y * z,
            -c * y * (4 * z * z - x * x - y * y),
            0.25 * math.sqrt(7 / math.pi) * z * (2 * z * z - 3 * x * x - 3 * y * y),
            -c * x * (4 * z * z - x * x - y * y),
            0.5 * b * z * (x * x - y * y),
            -a * x * (x * x - 3 * y * y),
        ]
    return torch.stack(values, -1)


def colours(coefficients: Tensor, means: Tensor, views: Tensor) -> Tensor:
    """(B, N, 3) RGB of ``coefficients`` (N, K, 3) seen by ``views`` (B, 4, 4): the sum, plus one half, at least
    zero."""
    rotation, translation = views[:, :3, :3], views[:, :3, 3]
    centres = -(rotation.transpose(1, 2) @ translation[..., None])[..., 0]
    directions = torch.nn.functional.normalize(means[None] - centres[:, None], dim=-1)
    values = basis(directions, degree_of(coefficients.shape[1]))
    return (torch.einsum("bnk,nkc->bnc", values, coefficients) + 0.5).clamp_min(0)
