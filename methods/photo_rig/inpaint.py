"""Colours for what the photograph hides, spread from what it shows: over the head's surface and over a picture."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve
from torch import Tensor

from .anatomy import LEFT_EYE, SKIN, TONGUE, Anatomy
from .discs import Cells

Floats = NDArray[np.float32]

STIFF = 0.02
"""Weight of a link between neighbours against a vertex whose colour is known."""
MOUTH = (0.16, 0.06, 0.06)  # a mouth's inside, in its own shade
TONGUE_COLOUR = (0.42, 0.19, 0.18)
SCLERA_QUANTILE = 0.8


def spread(colours: Tensor, known: Tensor, cells: Cells, anatomy: Anatomy) -> Tensor:
    """(N, 3): for every cell the smoothest colour that agrees with its part's known ones.

    ``colours`` (N, 3), believed as far as ``known`` (N,) says. The skin's is the solution of a screened Laplace
    equation over the mesh; the unseen part of an eye gets the brightest fifth of its seen part, and mouth and tongue
    constants of their own.
    """
    faces = anatomy.rig.faces[cells.faces]  # (N, 3)
    part = anatomy.part[faces[:, 0]]
    found = torch.zeros_like(colours)
    skin = part == SKIN
    found[skin] = _smooth(colours[skin], known[skin], faces[skin], cells.centres[skin], anatomy)
    mouth = skin & anatomy.mouth[faces].all(1)
    found[mouth] = torch.tensor(MOUTH)
    found[part == TONGUE] = torch.tensor(TONGUE_COLOUR)
    eyes = part >= LEFT_EYE
    seen = colours[eyes & (known > 0.5)]
    found[eyes] = _brightest(seen) if len(seen) else torch.tensor([0.8, 0.78, 0.76])
    return found


def _brightest(colours: Tensor) -> Tensor:
    luma = colours.mean(1)
    return colours[luma >= luma.quantile(SCLERA_QUANTILE)].mean(0)


def _smooth(colours: Tensor, known: Tensor, faces: Tensor, centres: Tensor, anatomy: Anatomy) -> Tensor:
    count = len(anatomy.part)
    index = faces.numpy()
    weight = (known[:, None] * centres).numpy().astype(np.float64)
    outside = ~anatomy.mouth.numpy()
    total = np.bincount(index.ravel(), weight.ravel(), count) * outside
    summed = np.stack(
        [
            np.bincount(index.ravel(), (weight * channel[:, None]).ravel(), count) * outside
            for channel in colours.numpy().T.astype(np.float64)
        ],
        1,
    )
    links = anatomy.links
    laplace = sparse.diags_array(np.asarray(links.sum(1)).ravel()) - links
    tiny = 1e-9  # a part of which nothing is known has the mean colour
    mean = summed.sum(0) / max(total.sum(), 1e-9)
    system = sparse.csc_array(STIFF * laplace + sparse.diags_array(total + tiny))
    solved = spsolve(system, summed + tiny * mean)
    at = torch.from_numpy(np.asarray(solved, np.float32))
    return (centres[..., None] * at[faces]).sum(1)


def pull_push(image: Floats, known: Floats) -> Floats:
    """(H, W, 3): ``image`` where ``known`` (H, W) is 1, elsewhere its average over the smallest neighbourhood that is
    known, from coarse to fine (Gortler et al., The Lumigraph, 1996)."""
    if min(image.shape[:2]) <= 1 or known.min() >= 1:
        total = max(float(known.sum()), 1e-6)
        mean = (image * known[..., None]).sum((0, 1)) / total
        return np.where(known[..., None] > 0, image, mean).astype(np.float32)
    size = ((image.shape[1] + 1) // 2, (image.shape[0] + 1) // 2)
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(image * known[..., None], size, interpolation=cv2.INTER_AREA)
    mean_known = np.asarray(small / np.maximum(weight, 1e-6)[..., None], np.float32)
    coarse = pull_push(mean_known, np.minimum(weight * 4, 1.0).astype(np.float32))
    filled = cv2.resize(coarse, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(known[..., None] * image + (1 - known[..., None]) * filled, np.float32)
