"""Upper and lower teeth for FLAME, which has none: 120 vertices and 168 triangles behind the lips.

The public facts of VHAP and GaussianAvatars (``vhap/model/flame.py``, ``add_teeth``), so that faces 9,976 to 10,143
mean what they mean there: 84 triangles of the upper teeth, then 84 of the lower. FLAME's axes: y up, z out of the face.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from avatarbench.heads.rig import RigArrays

VERTICES, FACES = 120, 168
UPPER_LIP = (1713, 1715, 1716, 1735, 1696, 1694, 1657, 3543, 2774, 2811, 2813, 2850, 2833, 2832, 2830)
LOWER_LIP = (1576, 1577, 1773, 1774, 1795, 1802, 1865, 3503, 2948, 2905, 2898, 2881, 2880, 2713, 2712)
"""The outer ring of each lip, from one corner of the mouth to the other; teeth have a column at each pair."""
_COLUMNS = len(UPPER_LIP)
# Rows of vertices, in order, and how far each lies up (y) and out (z) of the middle of the lips, in gaps between them.
_ROWS = {
    "upper root": (2.1, -1.5),
    "lower root": (-2.1, -1.9),
    "upper edge": (0.1, -1.5),
    "lower edge": (-0.1, -1.9),
    "upper root back": (2.1, -2.5),
    "upper edge back": (0.1, -2.5),
    "lower root back": (-2.1, -2.9),
    "lower edge back": (-0.1, -2.9),
}
# Strips of triangles between two rows, in order; True if the diagonals of the first half start at the first row.
_STRIPS = (
    ("upper root", "upper edge", True),
    ("upper edge back", "upper root back", False),
    ("upper edge", "upper edge back", True),
    ("lower edge", "lower root", False),
    ("lower root back", "lower edge back", True),
    ("lower edge back", "lower edge", False),
)
# Where each row lies in the texture, from the top of the free band (0) to its bottom (7): no two strips overlap.
_BAND = (
    "upper root",
    "upper edge",
    "upper edge back",
    "upper root back",
    "lower root back",
    "lower edge back",
    "lower edge",
    "lower root",
)


def faces() -> NDArray[np.int64]:
    """(168, 3) indices into the 120 vertices; outward to the front, and mirrored about the middle column."""
    start = {row: i * _COLUMNS for i, row in enumerate(_ROWS)}
    found = []
    for first, second, forward in _STRIPS:
        for column in range(_COLUMNS - 1):
            a, b = start[first] + column, start[second] + column
            if forward == (column < _COLUMNS // 2):
                found += [(a, b + 1, b), (a, a + 1, b + 1)]
            else:
                found += [(a, a + 1, b), (a + 1, b + 1, b)]
    return np.array(found, np.int64)


def add_teeth(arrays: RigArrays) -> RigArrays:
    """FLAME's arrays with teeth at the end of vertices and faces: V + 120, F + 168.

    The upper teeth move rigidly with joint 1 (neck), the lower with joint 2 (jaw); no expression and no pose corrective
    moves them. Their shape directions are the mean of the lips'.
    """
    lips = np.stack([UPPER_LIP, LOWER_LIP])
    upper, lower = arrays.template[lips].astype(np.float64)
    gap = np.linalg.norm(upper - lower, axis=1).mean()
    middle = (upper + lower) / 2
    middle[:, 1] = middle[:, 1].mean()
    template = np.concatenate([middle + gap * np.array([0, up, out]) for up, out in _ROWS.values()])
    shape = np.tile(arrays.shape_directions[lips].mean(axis=0), (len(_ROWS), 1, 1))
    skinning = np.zeros((VERTICES, arrays.skinning.shape[1]), np.float32)
    is_upper = np.repeat([row.startswith("upper") for row in _ROWS], _COLUMNS)
    skinning[is_upper, 1] = skinning[~is_upper, 2] = 1

    def with_zeros(directions: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([directions, np.zeros((VERTICES, *directions.shape[1:]), np.float32)])

    found = replace(
        arrays,
        template=np.concatenate([arrays.template, template.astype(np.float32)]),
        faces=np.concatenate([arrays.faces, faces() + len(arrays.template)]),
        shape_directions=np.concatenate([arrays.shape_directions, shape.astype(np.float32)]),
        expression_directions=with_zeros(arrays.expression_directions),
        skinning=np.concatenate([arrays.skinning, skinning]),
        pose_directions=with_zeros(arrays.pose_directions),
    )
    if not len(arrays.uvs):
        return found
    across = np.linspace(0.62, 0.38, _COLUMNS)
    down = np.linspace(1 - 0.0083, 1 - 0.0425, len(_BAND))  # FLAME's texture is empty there
    uvs = [np.stack([across, np.full(_COLUMNS, down[_BAND.index(row)])], 1) for row in _ROWS]
    return replace(
        found,
        uvs=np.concatenate([arrays.uvs, *uvs]).astype(np.float32),
        uv_faces=np.concatenate([arrays.uv_faces, faces() + len(arrays.uvs)]),
    )
