"""FLAME as a :class:`Rig`: 300 shapes, 100 expressions, neck, jaw and eyes, pose correctives, and teeth if wanted.

Metres; y is up, the face looks along +z, x to the subject's left. Source: Li et al. 2017.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from avatarbench.heads.flame_file import EXPRESSIONS, PARENTS, SHAPES, default_path, load_arrays, rig_arrays
from avatarbench.heads.rig import Rig, RigArrays
from avatarbench.heads.teeth import VERTICES as TEETH
from avatarbench.heads.teeth import add_teeth

JOINTS = ("root", "neck", "jaw", "eye.L", "eye.R")
"""FLAME's own order: global rotation, neck_pose, jaw_pose, and the two halves of eyes_pose."""


class FlameRig(Rig):
    """FLAME. Its joints follow the rest vertices: ``regressor`` (J, V), zero for teeth. ``name``: as avatar files have
    it."""

    regressor: Tensor

    def __init__(self, arrays: RigArrays, regressor: Tensor, name: str = "flame") -> None:
        shapes = [f"shape{i}" for i in range(SHAPES)]
        super().__init__(name, arrays, PARENTS, JOINTS, shapes, [f"expression{i}" for i in range(EXPRESSIONS)])
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
    arrays = rig_arrays(found, str(path or default_path()))
    weights = torch.from_numpy(found["J_regressor"])
    if teeth:
        arrays, weights = add_teeth(arrays), torch.nn.functional.pad(weights, (0, TEETH))
    return FlameRig(arrays, weights, "flame-teeth" if teeth else "flame")
