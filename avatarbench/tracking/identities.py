"""Which heads are likely: identities drawn from Anny's own values, and the basis that a fit moves in."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

if TYPE_CHECKING:
    from avatarbench.heads.anny import AnnyRig

_ADULT = {"gender": (0.0, 1.0), "age": (0.55, 1.0), "muscle": (0.3, 0.8), "weight": (0.2, 0.85), "height": (0.3, 0.7)}
_ANCESTRIES = ("african", "asian", "caucasian")
_FACE = ("cheek", "chin", "eye", "eyebrows", "forehead", "head", "mouth", "nose")
_SPREAD = 0.35
_DRAWS = 300
_SEED = 20261


class ShapeBasis(NamedTuple):
    """``shape = mean + directions @ z``, and z ~ N(0, 1) over the drawn. ``mean`` (S,), ``directions`` (S, K)."""

    mean: NDArray[np.float64]
    directions: NDArray[np.float64]


def draw_shapes(rig: AnnyRig, count: int, seed: int) -> NDArray[np.float64]:
    """(count, S) shape coefficients of adults: uniform phenotypes, and changes of the face that are normal
    (deviation 0.35, cut at 1) and the same on both sides; what is drawn has 6 decimals.

    Only ``Generator.random`` is used, whose bits numpy has never changed; it promises nothing of the distributions.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    changes = [name[1:] for name in rig.shape_names if name.startswith("+") and _part(name[1:]) in _FACE]
    bases = sorted({_side_free(name) for name in changes})
    found = []
    for _ in range(count):
        adult = {name: low + (high - low) * rng.random() for name, (low, high) in _ADULT.items()}
        # Exponentials divided by their sum lie evenly in the triangle of all mixtures.
        ancestry = -np.log1p(-rng.random(len(_ANCESTRIES)))
        phenotypes = {**adult, **dict(zip(_ANCESTRIES, (ancestry / ancestry.sum()).tolist(), strict=True))}
        phenotypes = {name: round(value, 6) for name, value in phenotypes.items()}
        normal = np.clip(_SPREAD * ndtri(rng.random(len(bases))), -1, 1).round(6)
        drawn = dict(zip(bases, normal.tolist(), strict=True))
        found.append(rig.shape(phenotypes, {name: drawn[_side_free(name)] for name in changes})[0].double().numpy())
    return np.stack(found)


def shape_basis(rig: AnnyRig, points: NDArray[np.float64], size: int = 40) -> ShapeBasis:
    """The ``size`` directions of shape in which drawn identities differ most at some points of the surface.

    ``points`` (N, 3, S): how each coefficient moves each point, metres. The principal components of the drawn points,
    each expressed in shape coefficients, so that the rest of the head follows the face as it does among the drawn.
    """
    shapes = draw_shapes(rig, _DRAWS, _SEED)
    mean = shapes.mean(axis=0)
    centred = shapes - mean
    moved = centred @ points.reshape(-1, points.shape[-1]).T
    # Remove the draws' common displacement: where the camera stands is a parameter of its own.
    moved = (moved.reshape(len(shapes), -1, 3) - moved.reshape(len(shapes), -1, 3).mean(1, keepdims=True)).reshape(
        len(shapes), -1
    )
    u = np.linalg.svd(moved, full_matrices=False)[0][:, :size]
    return ShapeBasis(mean, centred.T @ u / np.sqrt(len(shapes) - 1))


def _part(change: str) -> str:
    return _side_free(change).split("-")[0]


def _side_free(change: str) -> str:
    return change[2:] if change[:2] in ("l-", "r-") else change
