"""Official methods whose FLAME is another release than the tracker's: driven by it all the same, through the mesh.

Our FLAME, of the user's own file, makes vertices of what was tracked; the shim finds the codes with which the method's
own FLAME has them (``avatarbench/isolation/flame_fit.py``). Neither file leaves its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import AvatarbenchError
from avatarbench.isolation import official, weights
from avatarbench.isolation.method import AnnouncedAvatar, IsolatedAvatar
from avatarbench.isolation.official import OfficialMethod
from avatarbench.method import FlameParameters, Motion, Portrait, Site

if TYPE_CHECKING:
    from avatarbench.heads.flame import FlameRig

FIT = tuple(Path(official.__file__).with_name(name) for name in ("flame_fit.py", "flame_camera.py"))
"""Copied beside the shim of such a method."""
REPORT = "flame_fit.jsonl"
NO_PICTURE = np.zeros((0, 0, 3), np.uint8)
TEETH = 120
"""VHAP's vertices of teeth, which come last and no other FLAME has."""


@dataclass(frozen=True)
class HeadMesh:
    """A tracked head as vertices, with root and neck at rest. ``neutral`` and ``vertices`` (5023, 3) metres, without
    and with what moves; ``head_to_world`` (4, 4): where root and neck put it; ``jaw`` (3,) and ``eyes`` (6,) radians;
    ``bend_mm``: how far, mean over the head, the bent neck is from that rigid motion."""

    neutral: NDArray[np.float32]
    vertices: NDArray[np.float32]
    head_to_world: NDArray[np.float64]
    jaw: NDArray[np.float32]
    eyes: NDArray[np.float32]
    bend_mm: float


@dataclass(frozen=True)
class MeshMotion(Motion):
    """A motion whose FLAME parameters are a mesh; None where the frame was not tracked. It has no picture: nothing of
    that drives the method, and all that are announced are held at once."""

    mesh: HeadMesh | None = None


@dataclass(frozen=True)
class MeshPortrait(Portrait):
    """A portrait whose FLAME parameters are a mesh; None where it was not tracked."""

    mesh: HeadMesh | None = None


class FlameDriven(OfficialMethod):
    """Mixed into a method's class. Options: ``flame_file``, FLAME of the release that the tracker used, by default the
    imported one; ``limit_mm`` and ``limit_px``: what the method's FLAME may be off, mean over vertices, in a frame
    that is still rendered."""

    files: ClassVar[tuple[Path, ...]] = (*official.TOOLS, *FIT)
    eyes: ClassVar[bool] = True
    """Whether its FLAME turns them; a mesh for one that does not has them at rest."""
    own_options: ClassVar[Mapping[str, Any]] = {"flame_file": None, "limit_mm": 3.0, "limit_px": 8.0}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._file = _flame_file(self.options.pop("flame_file"))
        self._site: Site | None = None
        self._rig: FlameRig | None = None
        self._people: dict[bytes, NDArray[np.float32]] = {}
        self._lines: dict[tuple[str, str], dict[str, Any]] = {}
        self._portraits: dict[str, bool] = {}

    @classmethod
    def lacks(cls, **options: Any) -> list[str]:
        """What the user has yet to bring, a line each: FLAME for what was tracked among it."""
        given = options.get("flame_file")
        if given is not None and not isinstance(given, str):
            return [*super().lacks(**options), f"flame_file={given}: give the path of a FLAME file"]
        path = _flame_file(given)
        stamp = (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None
        return super().lacks(**options) + _faults(path, given is None, stamp)

    @classmethod
    def origin(cls, **options: Any) -> dict[str, Any]:
        """As of every official method, and with the file of FLAME that the tracking is read by."""
        path = _flame_file(options.get("flame_file"))
        found = super().origin(**options)
        held = {"path": str(path), "size": path.stat().st_size, "sha256": weights.digest(path)}
        return {**found, "weights": {**found["weights"], "FLAME of the tracking": held}}

    def open(self, site: Site) -> None:
        """As of every method; what was fitted is noted in ``site`` as the method is closed."""
        super().open(site)
        self._site = site

    def build(self, portrait: Portrait) -> IsolatedAvatar:
        """An avatar that is driven by meshes. A portrait without tracking is tracked by the method's own tracker."""
        mesh = self.mesh(portrait)
        self._portraits[portrait.id] = mesh is not None
        built = super().build(MeshPortrait(**{**_fields(portrait), "flame": None, "mesh": mesh}))
        self.collect()
        return MeshDriven(built, self)

    def close(self) -> None:
        """End the worker, and note what the fits left."""
        self.collect()
        super().close()
        if self._site is not None:
            for text in told(self._portraits, self._lines.values()):
                self._site.note(text)
        self._lines, self._portraits = {}, {}

    def motion(self, motion: Motion) -> MeshMotion:
        """``motion`` with a mesh in place of parameters and picture. Raises AvatarbenchError."""
        return MeshMotion(**{**_fields(motion), "image": NO_PICTURE, "flame": None, "mesh": self.mesh(motion)})

    def mesh(self, frame: Motion | Portrait) -> HeadMesh | None:
        """What was tracked, by the user's FLAME; None where nothing was. Raises AvatarbenchError."""
        if frame.flame is None or frame.camera is None:
            return None
        if self._rig is None:
            from avatarbench.heads.flame import load_flame

            self._rig = load_flame(self._file)
        return head_mesh(self._rig, frame.flame, self._people, self.eyes)

    def collect(self) -> None:
        """Read what the shim wrote of its fits, before its job folder is removed."""
        if self._site is None:
            return
        for path in sorted(self._site.folder.glob(f"*/{REPORT}")):
            if path.is_symlink() or not path.is_file():  # their code may write there, too: a pipe would never end
                continue
            for line in path.read_text("utf-8").splitlines():
                try:
                    found = json.loads(line)
                except ValueError:  # a worker was killed as it wrote its last line
                    continue
                self._lines[found["kind"], found["frame"]] = found


class MeshDriven(AnnouncedAvatar):
    """An avatar whose motions reach the worker as meshes."""

    def __init__(self, avatar: IsolatedAvatar, method: FlameDriven) -> None:
        super().__init__(avatar._supervisor, avatar._built)
        self._method = method
        self._meshes: dict[str, MeshMotion] = {}

    def announce(self, motions: Sequence[Motion]) -> None:
        """Have all ``motions`` converted. One whose mesh cannot be made costs its own frame, when that is rendered."""
        self._meshes = {}
        for motion in motions:
            with suppress(AvatarbenchError):
                self._meshes[motion.id] = self._method.motion(motion)
        super().announce(list(self._meshes.values()))
        self._method.collect()

    def render(self, motion: Motion) -> NDArray[np.generic]:
        """The worker's picture."""
        return super().render(self._meshes.get(motion.id) or self._method.motion(motion))


def head_mesh(
    rig: FlameRig, flame: FlameParameters, people: dict[bytes, NDArray[np.float32]], turn_eyes: bool = True
) -> HeadMesh:
    """``flame`` as vertices of ``rig``. ``people`` keeps neutral heads by their parameters: a sequence has one.

    Raises AvatarbenchError for offsets of another mesh.
    """
    import torch

    count = len(rig.template)
    offsets = None
    if flame.static_offset is not None:
        if len(flame.static_offset) not in (count, count + TEETH):
            raise AvatarbenchError(
                f"the tracking has offsets for {len(flame.static_offset)} vertices, and FLAME has {count}, with teeth "
                f"{count + TEETH}"
            )
        offsets = torch.from_numpy(np.asarray(flame.static_offset[:count], np.float32))
    shape, expression = (torch.from_numpy(np.asarray(v, np.float32))[None] for v in (flame.shape, flame.expr))
    eyes = np.asarray(flame.eyes_pose, np.float32) * turn_eyes
    face = {"jaw": flame.jaw_pose, "eye.L": eyes[:3], "eye.R": eyes[3:]}
    placed = {**face, "root": flame.rotation, "neck": flame.neck_pose}
    shift = torch.from_numpy(np.asarray(flame.translation, np.float32))[None]
    with torch.no_grad():
        whole = rig(shape, expression, rig.rotations(placed), shift, offsets)
        still = rig(shape, expression, rig.rotations(face), offsets=offsets).vertices[0]
        key = shape.numpy().tobytes() + (b"" if offsets is None else offsets.numpy().tobytes())
        if key not in people:
            people[key] = rig(shape, expression[:, :0], rig.rotations(), offsets=offsets).vertices[0].numpy()
        pose = whole.transforms[0, 1]
        bend = (whole.vertices[0] - still @ pose[:3, :3].T - pose[:3, 3]).norm(dim=1)
        head = 1 - rig.skinning[:, 0]
        return HeadMesh(
            neutral=people[key],
            vertices=still.numpy(),
            head_to_world=pose.numpy().astype(np.float64),
            jaw=np.asarray(flame.jaw_pose, np.float32),
            eyes=eyes,
            bend_mm=float((bend * head).sum() / head.sum()) * 1000,
        )


def told(portraits: Mapping[str, bool], lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """What a reader of a run has to know of its fits."""
    fitted = [line for line in lines if not line["reason"]]
    notes = []
    if (own := sum(not tracked for tracked in portraits.values())) > 0:
        notes.append(f"{own} of {len(portraits)} portraits have no FLAME tracking: its own tracker tracked them")
    for kind in ("portrait", "driver"):
        values = {name: np.array([line[name] for line in fitted if line["kind"] == kind]) for name in NAMES}
        if not values["pixels"].size:
            continue
        parts = [
            f"{words.format(v.mean())} (at most {v.max():.2f})"
            for v, words in zip(values.values(), NAMES.values(), strict=True)
        ]
        count = len(values["pixels"])
        notes.append(
            f"its own FLAME in place of the tracked one, {count} {kind}{'s' if count > 1 else ''}: off by "
            + ", ".join(parts)
        )
    return notes


NAMES = {
    "motion_mm": "{:.2f} mm in what moves",
    "identity_mm": "{:.2f} mm in the person",
    "pixels": "{:.2f} px in the picture",
    "bend_mm": "{:.2f} mm in the neck's bend, which it has no joint for",
}


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _flame_file(given: str | None) -> Path:
    from avatarbench.assets import cache_root

    if given is None:
        return cache_root() / "flame" / "flame.safetensors"  # flame_file.default_path(), without importing torch
    return Path(given).expanduser().absolute()


@cache
def _faults(path: Path, imported: bool, stamp: Any) -> list[str]:
    """Why the FLAME file is of no use, a line; read once a process and ``stamp`` of it."""
    how = (
        "register at flame.is.tue.mpg.de, download the release that the tracker used, then avatarbench assets "
        "import-flame FILE, or the option flame_file=FILE"
    )
    if stamp is None:
        lack = "none was imported" if imported else f"{path} is no file"
        return [f"to read tracked parameters it needs FLAME, and {lack}: {how}"]
    from avatarbench.heads.flame import load_flame

    try:
        load_flame(path)
    except AvatarbenchError as error:
        return [f"{error} To read what was tracked, {how}"]
    return []
