"""Which part of Anny's head a vertex belongs to, and how far it follows the head's motion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from avatarbench.heads.anny import AnnyRig
from avatarbench.openheads.hair_regions import regions, scalp_weight
from avatarbench.tracking.face_model import face_model

SKIN, TONGUE, LEFT_EYE, RIGHT_EYE = range(4)
CHIN, COLLAR = -0.055, -0.125
"""Heights over the head joint, metres: above the first all follows the head, below the second nothing does."""
HEAD = ("head", "jaw", "eye.L", "eye.R")
_RIGID = 1e-4  # metres that no expression moves a rigid vertex by


def smoothstep(t: NDArray[np.floating]) -> NDArray[np.float32]:
    """From 0 at 0 to 1 at 1, and flat beyond."""
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


@dataclass(frozen=True)
class Anatomy:
    """``part`` (V,): :data:`SKIN` and so on; ``mouth`` (V,) booleans: its inside; ``scalp`` (V,) in [0, 1]: where hair
    grows; ``follow`` (V,) in [0, 1]: how far a vertex goes with the head, and does not stay with the shoulders;
    ``skull``: a face that no expression moves; ``foot``: the lowest face of the neck; ``links`` (V, V): which vertices
    share an edge."""

    rig: AnnyRig
    part: Tensor
    mouth: Tensor
    scalp: Tensor
    follow: Tensor
    skull: Tensor
    foot: Tensor
    links: sparse.csr_array


@cache
def anatomy() -> Anatomy:
    """That of the rig that the tracker fits, made once a process."""
    rig = face_model().rig
    faces = rig.faces.numpy()
    count = len(rig.template)
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    ones = np.ones(2 * len(pairs))
    links = sparse.csr_array((ones, (pairs.ravel("F"), pairs[:, ::-1].ravel("F"))), (count, count))
    _, component = connected_components(links, directed=False)
    skinning = rig.skinning.numpy()
    part = np.full(count, TONGUE)
    part[component == np.bincount(component).argmax()] = SKIN
    for side, name in ((LEFT_EYE, "eye.L"), (RIGHT_EYE, "eye.R")):
        part[(part != SKIN) & (skinning[:, rig.joint_names.index(name)] > 0.5)] = side
    head = [rig.joint_names.index(name) for name in HEAD]
    moved = rig.expression_directions.norm(dim=1).amax(1).numpy()
    z = rig.template[:, 2].numpy()
    height = (z - COLLAR) / (CHIN - COLLAR)
    follow = np.maximum(skinning[:, head].sum(1), smoothstep(height))
    still = (moved < _RIGID) & (skinning[:, rig.joint_names.index("head")] > 0.999) & (part == SKIN)
    return Anatomy(
        rig=rig,
        part=torch.from_numpy(part),
        mouth=torch.from_numpy(regions(rig).masks["inside-mouth"]),
        scalp=torch.from_numpy(scalp_weight(rig, rig.template.numpy())),
        follow=torch.from_numpy(follow.astype(np.float32)),
        skull=torch.tensor(np.flatnonzero(still[faces].all(1))[0]),
        foot=torch.tensor(z[faces].mean(1).argmin()),
        links=links,
    )
