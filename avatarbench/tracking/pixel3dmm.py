"""What Pixel3DMM's tracker saves: ``checkpoint/%05d.frame``, a dictionary of numpy arrays written by ``torch.save``.

Source: pixel3dmm/tracking/tracker.py (save_checkpoint, get_intrinsics, create_parameters) and tracking/flame/FLAME.py
of github.com/SimonGiebenhain/pixel3dmm, read in the public copy tobias-kirschstein/easy-pixel3dmm. No real file was at
hand.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from avatarbench.errors import DataError
from avatarbench.method import Camera, FlameParameters
from avatarbench.tracking.arrays import inside, numbers, rigid, vector
from avatarbench.tracking.vhap import OPENGL

_LARGEST = 64_000_000  # bytes; a frame has some ten thousand
_NAME = re.compile(r"(\d+)\.frame")


class Pixel3dmmFrames:
    """The ``.frame`` files of a tracking folder, or of its ``checkpoint`` folder, by number, each read when asked for.

    ``frames[i]`` is (FlameParameters, Camera). Pixel3DMM moves the whole head by ``R x + t`` about FLAME's origin, and
    FLAME's own rotation is about the root joint; so the motion goes into the camera, exactly, and ``rotation`` and
    ``translation`` are zero. Eyelid coefficients have no place in FLAME and are left out. Raises DataError naming the
    file and key.
    """

    def __init__(self, folder: Path | str) -> None:
        given = Path(folder)
        self.folder = given / "checkpoint" if (given / "checkpoint").is_dir() else given
        try:
            named = [(int(match[1]), p.name) for p in self.folder.iterdir() if (match := _NAME.fullmatch(p.name))]
        except OSError as error:
            raise DataError(f"{self.folder} cannot be listed: {error.strerror}.") from error
        if not named:
            raise DataError(f"{self.folder} holds no '.frame' files: name a tracking folder of Pixel3DMM.")
        self.paths = [self.folder / name for _, name in sorted(named)]

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[tuple[FlameParameters, Camera]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> tuple[FlameParameters, Camera]:
        """Raises IndexError for an index outside the files."""
        return read_frame(inside(self.folder, self.paths[index].name, str(self.folder)))


def read_frame(path: Path) -> tuple[FlameParameters, Camera]:
    """One file. Nothing of it is executed: only tensors, numpy arrays and plain values are admitted.

    Raises DataError naming file and key.
    """
    values = _load(path)
    flame, camera = (_table(values, key, path) for key in ("flame", "camera"))
    eyes = vector(flame, "eyes", 12, path)
    parameters = FlameParameters(
        shape=vector(flame, "shape", 300, path),
        expr=vector(flame, "exp", 100, path),
        rotation=np.zeros(3, np.float32),
        neck_pose=_axis_angle(vector(flame, "neck", 6, path), "neck", path),
        jaw_pose=_axis_angle(vector(flame, "jaw", 6, path), "jaw", path),
        eyes_pose=np.concatenate([_axis_angle(half, "eyes", path) for half in (eyes[:6], eyes[6:])]),
        translation=np.zeros(3, np.float32),
    )
    head = np.eye(4)
    head[:3, :3], head[:3, 3] = _rotation(vector(flame, "R", 6, path), "R", path), vector(flame, "t", 3, path)
    world = np.eye(4)
    turn = numbers(camera, "R_base_0", path)
    if turn.size != 9:
        raise DataError(f"{path}: 'R_base_0' has shape {turn.shape}, where (1, 3, 3) is expected.")
    world[:3, :3], world[:3, 3] = turn.reshape(3, 3), vector(camera, "t_base_0", 3, path)
    to_camera = OPENGL @ rigid(world, f"{path}: 'R_base_0'") @ head
    height, width = (int(n) for n in vector(values, "img_size", 2, path))
    if height <= 0 or width <= 0:
        raise DataError(f"{path}: 'img_size' is {width} x {height}.")
    focal = float(vector(camera, "fl", 1, path)[0])
    if focal <= 0:
        raise DataError(f"{path}: 'fl' is {focal}: the focal length over the image size must be positive.")
    centre = vector(camera, "pp", 2, path).astype(np.float64)
    half = np.array([width, height]) / 2 + 0.5  # their pixel centres: the middle of size 256 is 128.5
    k = np.array([[focal * width, 0, 0], [0, focal * height, 0], [0, 0, 1.0]])
    k[:2, 2] = half + centre * half
    return parameters, Camera(k, to_camera, width, height)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise DataError(f"{path} has {path.stat().st_size} bytes: that is no frame of Pixel3DMM.")
        with torch.serialization.safe_globals(_numpy_names()):
            values = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DataError(
            f"{path} holds more than tensors, numpy arrays and plain values, so it was not opened: it may be hostile."
        ) from error
    # A cut or foreign file: torch's reader and numpy's array building raise these.
    except (OSError, RuntimeError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path} cannot be read as a file of torch.save: {error}.") from error
    if not isinstance(values, dict):
        raise DataError(f"{path} holds a {type(values).__name__}, where a dictionary is expected.")
    return values


def _numpy_names() -> list[Any]:
    """What rebuilds a plain numpy array, under the module names of numpy 1 and 2."""
    from numpy._core.multiarray import _reconstruct, scalar

    types = {type(np.dtype(code)) for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")}
    old = [(f, f"numpy.core.multiarray.{f.__name__}") for f in (_reconstruct, scalar)]
    return [_reconstruct, scalar, *old, np.ndarray, np.dtype, *types]


def _table(values: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    found = values.get(key)
    if not isinstance(found, dict):
        raise DataError(f"{path}: '{key}' is missing or no dictionary; the file holds {', '.join(map(str, values))}.")
    return found


def _rotation(six: NDArray[np.float32], key: str, path: Path) -> NDArray[np.float64]:
    """(3, 3) from the six numbers of Zhou et al. 2019 (equation 15), two rows, as pytorch3d lays them out."""
    a, b = six[:3].astype(np.float64), six[3:].astype(np.float64)
    if np.linalg.norm(np.cross(a, b)) < 1e-8:
        raise DataError(f"{path}: '{key}' holds no rotation: its two directions are parallel or zero.")
    first = a / np.linalg.norm(a)
    second = b - (first @ b) * first
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)])


def _axis_angle(six: NDArray[np.float32], key: str, path: Path) -> NDArray[np.float32]:
    return Rotation.from_matrix(_rotation(six, key, path)).as_rotvec().astype(np.float32)
