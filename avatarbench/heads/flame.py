"""FLAME as a :class:`Rig`: 300 shapes, 100 expressions, neck, jaw and eyes, pose correctives, and teeth if wanted.

Metres; y is up, the face looks along +z, x to the subject's left. Source: Li et al. 2017.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarbench.heads.flame_file import EXPRESSIONS, PARENTS, SHAPES, load_arrays
from avatarbench.heads.rig import Rig, RigArrays
from avatarbench.heads.teeth import VERTICES as TEETH
from avatarbench.heads.teeth import add_teeth

JOINTS = ("root", "neck", "jaw", "eye.L", "eye.R")
"""FLAME's own order: global rotation, neck_pose, jaw_pose, and the two halves of eyes_pose."""


class FlameRig(Rig):
    """FLAME. Its joints follow the rest vertices: ``regressor`` (J, V), zero for teeth."""

    regressor: Tensor

    def __init__(self, arrays: RigArrays, regressor: Tensor) -> None:
        shapes = [f"shape{i}" for i in range(SHAPES)]
        super().__init__("flame", arrays, PARENTS, JOINTS, shapes, [f"expression{i}" for i in range(EXPRESSIONS)])
        self.register_buffer("regressor", regressor)

    def rest(self, shape: Tensor, expression: Tensor, offsets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As :meth:`Rig.rest`; ``offsets`` (VHAP's ``static_offset``) move the joints too, as there."""
        vertices, joints = super().rest(shape, expression, offsets)
        return vertices, joints if offsets is None else joints + self.regressor @ offsets


def load_flame(path: Path | None = None, teeth: bool = False) -> FlameRig:
    """FLAME on the CPU, float32, from the copy of ``avatarbench assets import-flame`` or from ``path``.

    ``path``: what :func:`avatarbench.heads.flame_file.read_flame` reads. ``teeth`` adds 120 vertices and 168 faces, the
    last of 10,144. Without texture coordinates in the file, ``uvs`` is empty. Raises AssetError where nothing was
    imported, DataError for a file that is not FLAME 2020 or 2023.
    """
    found = load_arrays(path)
    regressor = found["J_regressor"].astype(np.float64)
    directions = found["shapedirs"]
    joint_directions = (regressor @ directions.reshape(len(directions), -1).astype(np.float64)).reshape(
        len(regressor), *directions.shape[1:]
    )
    arrays = RigArrays(
        template=found["v_template"],
        faces=found["f"],
        uvs=found.get("vt", np.zeros((0, 2), np.float32)),
        uv_faces=found.get("ft", np.zeros((0, 3), np.int64)),
        shape_directions=directions[..., :SHAPES],
        expression_directions=directions[..., SHAPES:],
        joints=(regressor @ found["v_template"]).astype(np.float32),
        joint_directions=joint_directions.astype(np.float32),
        skinning=found["weights"],
        pose_directions=found["posedirs"],
    )
    weights = torch.from_numpy(found["J_regressor"])
    if teeth:
        arrays, weights = add_teeth(arrays), torch.nn.functional.pad(weights, (0, TEETH))
    return FlameRig(arrays, weights)
