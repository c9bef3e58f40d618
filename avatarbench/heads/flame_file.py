"""FLAME's own files, and our copy of one: read, check, import.

FLAME is licensed to each user by its authors and never part of this project. The files of 2020 (``generic_model.pkl``)
and 2023 (``flame2023.pkl``, ``flame2023_no_jaw.pkl``) have one layout, and the same vertices and faces.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from avatarbench.assets import cache_root
from avatarbench.errors import AssetError, DataError
from avatarbench.files import writing
from avatarbench.heads.obj import read_obj
from avatarbench.heads.pickles import array, read_pickle
from avatarbench.heads.rig import RigArrays
from avatarbench.npz import read_npz

VERTICES, FACES, JOINTS, SHAPES, EXPRESSIONS = 5023, 9976, 5, 300, 100
PARENTS = (-1, 0, 1, 1, 1)
_FLOATS = {
    "v_template": (VERTICES, 3),
    "shapedirs": (VERTICES, 3, SHAPES + EXPRESSIONS),
    "posedirs": (VERTICES, 3, 9 * (JOINTS - 1)),
    "J_regressor": (JOINTS, VERTICES),
    "weights": (VERTICES, JOINTS),
}
_INTEGERS = {"f": (FACES, 3), "kintree_table": (2, JOINTS)}
_UVS = ("vt", "ft")
_OTHERS = {6890: "SMPL", 10475: "SMPL-X", 778: "MANO"}

Arrays = dict[str, NDArray[Any]]


def default_path() -> Path:
    """Where ``avatarbench assets import-flame`` puts its copy."""
    return cache_root() / "flame" / "flame.safetensors"


def read_flame(path: Path) -> Arrays:
    """FLAME's arrays under FLAME's names: float32, and int64 for ``f``, ``kintree_table`` and ``ft``.

    ``path``: a FLAME pickle, an .npz of the same keys, or the .safetensors of :func:`import_flame`. ``vt`` (T, 2) and
    ``ft`` (9976, 3) are there if the file has them. Raises DataError for anything that is not FLAME 2020 or 2023, and
    for a pickle that names anything but arrays.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist or is no file.")
    found: Mapping[str, Any]
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        elif path.suffix == ".npz":
            found = read_npz(path, "convert FLAME's own file again", only=(*_FLOATS, *_INTEGERS, *_UVS))
        else:
            found = read_pickle(path)
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a file of arrays: {error}.") from error
    return _checked(found, path)


def _checked(found: Mapping[str, Any], path: Path) -> Arrays:
    arrays: Arrays = {}
    for key, shape in {**_FLOATS, **_INTEGERS}.items():
        if key not in found:
            raise DataError(
                f"{path} is not a FLAME model: it lacks '{key}', and holds {_listed(found)}. "
                "Give it FLAME 2020's generic_model.pkl or FLAME 2023's flame2023.pkl."
            )
        value = _array(found[key], key, path)
        if value.shape != shape:
            other = _OTHERS.get(value.shape[0]) if value.ndim and key == "v_template" else None
            raise DataError(
                f"{path} is not FLAME 2020 or 2023: '{key}' is {value.shape}{f', which is {other}' if other else ''}, "
                f"and {shape} is expected."
            )
        kind = "iu" if key in _INTEGERS else "f"
        if value.dtype.kind not in kind:
            raise DataError(f"{path}: '{key}' holds {value.dtype}, not {'integers' if kind == 'iu' else 'floats'}.")
        arrays[key] = np.ascontiguousarray(value, np.float32 if kind == "f" else np.int64)
    parents = arrays["kintree_table"][0].copy()
    parents[0] = -1  # 4294967295 in the files
    if tuple(parents.tolist()) != PARENTS:
        raise DataError(
            f"{path} is not FLAME 2020 or 2023: its joints' parents are {tuple(parents.tolist())}, not {PARENTS}."
        )
    arrays["kintree_table"][0] = parents
    if all(key in found for key in _UVS):
        vt, ft = (_array(found[key], key, path) for key in _UVS)
        if vt.ndim != 2 or vt.shape[1] != 2 or vt.dtype.kind != "f":
            raise DataError(f"{path}: 'vt' is {vt.shape} of {vt.dtype}, where (T, 2) floats are expected.")
        if ft.shape != (FACES, 3) or ft.dtype.kind not in "iu":
            raise DataError(f"{path}: 'ft' is {ft.shape} of {ft.dtype}, where {(FACES, 3)} integers are expected.")
        arrays["vt"], arrays["ft"] = np.ascontiguousarray(vt, np.float32), np.ascontiguousarray(ft, np.int64)
    return arrays


def rig_arrays(found: Arrays, where: str) -> RigArrays:
    """The rig of :func:`read_flame`'s arrays, checked. Raises DataError, its message beginning with ``where``, for
    content that no rig can be made of: NaN, indices outside the mesh, weights that do not sum to one."""
    regressor, directions = found["J_regressor"].astype(np.float64), found["shapedirs"]
    with np.errstate(invalid="ignore"):  # the check below says it in words
        joints = (regressor @ found["v_template"]).astype(np.float32)
        joint_directions = (regressor @ directions.reshape(VERTICES, -1).astype(np.float64)).astype(np.float32)
    arrays = RigArrays(
        template=found["v_template"],
        faces=found["f"],
        uvs=found.get("vt", np.zeros((0, 2), np.float32)),
        uv_faces=found.get("ft", np.zeros((0, 3), np.int64)),
        shape_directions=directions[..., :SHAPES],
        expression_directions=directions[..., SHAPES:],
        joints=joints,
        joint_directions=joint_directions.reshape(JOINTS, *directions.shape[1:]),
        skinning=found["weights"],
        pose_directions=found["posedirs"],
    )
    try:
        return arrays.check(PARENTS)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _array(value: Any, key: str, path: Path) -> NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    try:
        return array(value)
    except ValueError as error:
        raise DataError(f"{path}: '{key}' cannot be read: {error}.") from error


def _listed(found: Mapping[str, Any]) -> str:
    names = sorted(found)
    return (", ".join(names[:8]) or "nothing") + (", ..." if len(names) > 8 else "")


def import_flame(source: Path, out: Path | None = None, template: Path | None = None) -> Path:
    """Check the user's FLAME file and write it as safetensors to ``out``, by default into the cache; returns where.

    ``template``: FLAME's head_template.obj, whose texture coordinates are taken. Raises DataError as
    :func:`read_flame` and :func:`rig_arrays`, and for a template of another mesh; what was imported before stays as it
    was then. Raises OSError.
    """
    target = default_path() if out is None else out
    if target.suffix != ".safetensors":
        raise DataError(f"{target}: the copy is a safetensors file; let its name end in .safetensors.")
    arrays = read_flame(source)
    if template is not None:
        arrays["vt"], arrays["ft"] = _template_uvs(template, arrays["f"])
    rig_arrays(arrays, str(source) if template is None else f"{source} with {template}")
    with writing(target) as temporary:
        save_file(arrays, temporary)
    return target


def _template_uvs(path: Path, faces: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(T, 2) and (F, 3): the template's texture coordinates for the model's own order of faces and corners."""
    mesh = read_obj(path)
    expected = f"FLAME's head_template.obj has {VERTICES} vertices and {FACES} triangles with texture coordinates"
    if len(mesh.vertices) != VERTICES or mesh.faces.shape != faces.shape or mesh.uv_faces.shape != faces.shape:
        raise DataError(
            f"{path} has {len(mesh.vertices)} vertices, {len(mesh.faces)} triangles and {len(mesh.uv_faces)} with "
            f"texture coordinates; {expected}."
        )
    theirs, ours = np.argsort(mesh.faces, 1), np.argsort(faces, 1)
    their_corners, our_corners = np.take_along_axis(mesh.faces, theirs, 1), np.take_along_axis(faces, ours, 1)
    their_order, our_order = np.lexsort(their_corners.T), np.lexsort(our_corners.T)
    if not np.array_equal(their_corners[their_order], our_corners[our_order]):
        raise DataError(f"{path} has other triangles than the model; {expected}.")
    uv_faces = np.empty_like(faces)
    of_sorted = np.take_along_axis(mesh.uv_faces, theirs, 1)[their_order]
    uv_faces[our_order[:, None], ours[our_order]] = of_sorted
    return mesh.uvs, uv_faces


def load_arrays(path: Path | None) -> Arrays:
    """:func:`read_flame` of ``path``, or of the imported copy. Raises AssetError where there is none yet."""
    if path is None:
        path = default_path()
        if not path.is_file():
            raise AssetError(
                f"FLAME is not here ({path}). It is licensed to you by its authors: register at flame.is.tue.mpg.de, "
                "download FLAME 2020 or 2023, then run `avatarbench assets import-flame generic_model.pkl`."
            )
    return read_flame(path)
