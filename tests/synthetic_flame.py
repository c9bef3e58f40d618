"""A file of FLAME's exact schema with invented numbers. FLAME itself is licensed and never part of the tests."""

from __future__ import annotations

import pickle
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csc_matrix
from scipy.spatial import ConvexHull

VERTICES, FACES = 5023, 9976


def flame_arrays(vertices: int = VERTICES, faces: int = FACES, seed: int = 0) -> dict[str, Any]:
    """The dict of FLAME 2020's pickle: an egg of a head with smooth weights and small random directions."""
    draw = np.random.default_rng(seed)
    turn = np.arange(vertices) * np.pi * (3 - 5**0.5)
    height = 1 - 2 * (np.arange(vertices) + 0.5) / vertices
    ring = np.sqrt(1 - height**2)
    template = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], 1) * (0.08, 0.13, 0.1)
    places = np.array([[0, -0.1, 0], [0, -0.05, 0], [0, -0.03, 0.02], [0.03, 0.03, 0.08], [-0.03, 0.03, 0.08]])
    regressor = np.zeros((5, vertices))
    for joint, place in enumerate(places):
        near = np.argsort(np.linalg.norm(template - place, axis=1))[:40]
        regressor[joint, near] = draw.dirichlet(np.ones(len(near)))
    distance = np.linalg.norm(template[:, None] - places, axis=2)
    weights = np.exp(-distance / 0.02)
    return {
        "v_template": template,
        "f": ConvexHull(template).simplices[:faces].astype(np.uint32),
        "shapedirs": draw.normal(0, 1e-3, (vertices, 3, 400)),
        "posedirs": draw.normal(0, 1e-3, (vertices, 3, 36)),
        "J_regressor": csc_matrix(regressor),
        "J": regressor @ template,
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "bs_type": "lrotmin",
        "bs_style": "lbs",
    }


@contextmanager
def chumpy() -> Iterator[type]:
    """A module of chumpy's name for as long as a file is written; objects pickle as chumpy's ``Ch`` does."""

    class Ch:
        def __init__(self, x: Any) -> None:
            self.x, self._dirty_vars, self._itr = x, {"x"}, None

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    package, module = ModuleType("chumpy"), ModuleType("chumpy.ch")
    module.Ch = Ch  # type: ignore[attr-defined]
    sys.modules.update({"chumpy": package, "chumpy.ch": module})
    try:
        yield Ch
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]


class _Python2(pickle._Pickler):
    """Writes bytes as Python 2's strings, as the original files have them."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)

    def save_bytes(self, data: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(data)

    dispatch[bytes] = save_bytes


def write_2020(path: Path, arrays: dict[str, Any]) -> Path:
    """As FLAME 2020's ``generic_model.pkl``: Python 2's protocol 2, old module names, a chumpy object."""
    with chumpy() as ch, path.open("wb") as stream:
        _Python2(stream, protocol=2).dump({**arrays, "shapedirs": ch(arrays["shapedirs"])})
    content = path.read_bytes()
    for new, old in ((b"cnumpy._core.", b"cnumpy.core."), (b"cscipy.sparse._csc\n", b"cscipy.sparse.csc\n")):
        content = content.replace(new, old)
    path.write_bytes(content)
    return path


def write_2023(path: Path, arrays: dict[str, Any], protocol: int = 4) -> Path:
    """As FLAME 2023's ``flame2023.pkl``: plain numpy, no chumpy."""
    path.write_bytes(pickle.dumps(arrays, protocol=protocol))
    return path


def write_template(path: Path, faces: np.ndarray, vertices: int = VERTICES, seed: int = 1) -> np.ndarray:
    """A ``head_template.obj`` with the faces in another order and from other corners; the (F, 3, 2) UVs it means."""
    draw = np.random.default_rng(seed)
    uvs = draw.uniform(0, 1, (3 * len(faces), 2)).round(5)
    order, roll = draw.permutation(len(faces)), draw.integers(0, 3, len(faces))
    lines = [f"v {i} 0 0" for i in range(vertices)] + [f"vt {u} {v}" for u, v in uvs]
    for face in order:
        corners = np.roll(np.arange(3), roll[face])
        lines.append("f " + " ".join(f"{faces[face, c] + 1}/{3 * face + c + 1}" for c in corners))
    path.write_text("\n".join(lines))
    return uvs.reshape(-1, 3, 2)
