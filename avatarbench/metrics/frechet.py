"""The Frechet distance between two Gaussians, from statistics that merge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import Unscorable


@dataclass(frozen=True)
class Gaussian:
    """``n`` samples, their ``mean`` (D,) and ``scatter`` (D, D), the sum of outer products about the mean; float64."""

    n: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]

    @classmethod
    def of(cls, features: Sequence[NDArray[np.float32]] | NDArray[np.float32]) -> Gaussian:
        """Of (N, D) features, N >= 1."""
        rows = np.asarray(features, np.float64)
        mean = rows.mean(axis=0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def merge(self, other: Gaussian) -> Gaussian:
        """Statistics of both sets together (Chan, Golub and LeVeque 1979)."""
        n = self.n + other.n
        delta = other.mean - self.mean
        scatter = self.scatter + other.scatter + np.outer(delta, delta) * (self.n * other.n / n)
        return Gaussian(n, self.mean + delta * (other.n / n), scatter)

    @cached_property
    def covariance(self) -> NDArray[np.float64]:
        """(D, D), normalised by n - 1 as numpy.cov does."""
        return self.scatter / (self.n - 1)

    @cached_property
    def root(self) -> NDArray[np.float64]:
        """R (r, D) with R^T R = covariance.

        n samples span at most n - 1 directions, so only that many leading eigenpairs are kept: the others are rounding
        errors, and the square root would blow 1e-16 up to 1e-8.
        """
        values, vectors = np.linalg.eigh(self.covariance)
        rank = min(len(values), self.n - 1)
        values, vectors = values[-rank:], vectors[:, -rank:]
        return np.sqrt(np.maximum(values, 0))[:, None] * vectors.T


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|mu_a - mu_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)), never negative. Raises Unscorable below two samples a side.

    The trace of the square root is the sum of the singular values of R_a R_b^T (C = R^T R): their squares are the
    eigenvalues of C_a C_b. So nothing complex and no singular matrix root appears, whatever the ranks.
    """
    if min(a.n, b.n) < 2:
        raise Unscorable(f"a covariance needs two frames a side, here {a.n} and {b.n}")
    delta = a.mean - b.mean
    trace = np.linalg.svd(a.root @ b.root.T, compute_uv=False).sum()
    value = delta @ delta + np.trace(a.covariance) + np.trace(b.covariance) - 2 * trace
    return max(float(value), 0.0)
