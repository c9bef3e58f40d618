"""Wavefront OBJ files of triangles: vertices, texture coordinates, and the faces of both."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import DataError


class Mesh(NamedTuple):
    """``vertices`` (V, 3) float32; ``faces`` (F, 3) int64; ``uvs`` (T, 2) float32, v up; ``uv_faces`` (F, 3) int64, or
    (0, 3) where a face has no texture coordinates."""

    vertices: NDArray[np.float32]
    faces: NDArray[np.int64]
    uvs: NDArray[np.float32]
    uv_faces: NDArray[np.int64]


def read_obj(path: Path) -> Mesh:
    """The mesh of an OBJ file; normals, groups and materials are passed over.

    Raises DataError naming the line for a face that is no triangle, a number that is none, or an index out of range.
    Raises OSError.
    """
    vertices: list[list[float]] = []
    uvs: list[list[float]] = []
    faces: list[list[int]] = []
    uv_faces: list[list[int]] = []
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, 1):
            words = line.split()
            try:
                if words[:1] == ["v"]:
                    vertices.append([float(word) for word in words[1:4]])
                elif words[:1] == ["vt"]:
                    uvs.append([float(word) for word in words[1:3]])
                elif words[:1] == ["f"]:
                    if len(words) != 4:
                        raise DataError(f"{path}, line {number}: a face of {len(words) - 1} corners; only triangles.")
                    corners = [word.split("/") for word in words[1:]]
                    faces.append([_index(corner[0], len(vertices)) for corner in corners])
                    if all(len(corner) > 1 and corner[1] for corner in corners):
                        uv_faces.append([_index(corner[1], len(uvs)) for corner in corners])
            except ValueError as error:
                raise DataError(f"{path}, line {number}: {line.strip()[:60]!r} cannot be read: {error}.") from error
    try:
        return Mesh(
            np.array(vertices, np.float32).reshape(-1, 3),
            np.array(faces, np.int64).reshape(-1, 3),
            np.array(uvs, np.float32).reshape(-1, 2),
            np.array(uv_faces if len(uv_faces) == len(faces) else [], np.int64).reshape(-1, 3),
        )
    except ValueError as error:
        raise DataError(f"{path}: a vertex or texture coordinate lacks a number.") from error


def _index(word: str, count: int) -> int:
    """From 1-based, or negative from the end, to 0-based."""
    index = int(word)
    index = index - 1 if index > 0 else count + index
    if not 0 <= index < count:
        raise ValueError(f"index {word}, and there are {count} so far")
    return index
