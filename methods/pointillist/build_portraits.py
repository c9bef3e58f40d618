"""Which pictures of a training person are portraits, and the head that a tracker reads off each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.openheads import embedded_split
from avatarbench.errors import DataError
from avatarbench.fitting.openheads import AS_ANOTHER
from avatarbench.fitting.run import evenly
from avatarbench.heads.decimate import Decimated
from avatarbench.method import Camera
from avatarbench.methods.pointillist.conditioning import framed, rest_of
from avatarbench.metrics.face import FaceLandmarker, to_track
from avatarbench.metrics.features import Frame, Missing
from avatarbench.openheads.cameras import FRONTAL
from avatarbench.tracking.anny_fit import AnnyFit, fit_portrait

PORTRAIT = "PORTRAIT"
REST = ("EXP-1-head", 0)
"""Take and frame in which a person looks straight ahead, at rest: what stands in for a portrait where none was made."""
SIDES = 2
"""Cameras beside the frontal one whose picture of the portrait's moment is a portrait too."""


class Place(NamedTuple):
    """Where a portrait comes from: NeRSemble's recording, time step and camera."""

    take: str
    step: int
    camera: str

    def __str__(self) -> str:
        return f"{self.take}/{self.step:05d}/{self.camera}"


class Tracked(NamedTuple):
    """A portrait with its head. ``image`` (H, W, 3) uint8, framed about the face where landmarks say where it is;
    ``vertices`` (V, 3) float32, metres: its neutral rest mesh; ``values``: what the tracker said of the whole picture,
    by name, the same names and shapes for all portraits of a set."""

    place: Place
    image: NDArray[np.uint8]
    vertices: Tensor
    values: dict[str, Tensor]


@dataclass(frozen=True)
class Left:
    """A picture that is no portrait, and why."""

    place: Place
    reason: str


class Found(NamedTuple):
    """``notes``: what to know of the choice; ``sources``: sha256 of every recording that pictures were taken from."""

    tracked: list[Tracked]
    left: list[Left]
    notes: list[str]
    sources: dict[str, str]


@dataclass(frozen=True)
class _Picture:
    place: Place
    data: NersembleDataset
    sequence: str
    index: int


def of_openheads(
    root: Path, person: str, portraits: Path | None, most: int, small: Decimated | None, landmarker: FaceLandmarker
) -> Found:
    """At most ``most`` portraits of a person of an OpenHeads folder, tracked as a user's portrait is: landmarks, then
    Anny under a camera that is not known.

    First PORTRAIT by the frontal camera and the two nearest to it, then every other moment's frontal picture. PORTRAIT
    is taken from the folder ``portraits`` where one is given, else from ``root``, else, for people of the test split,
    from the split that ships; a person without it has the frontal picture at rest first. A picture without a face, or
    with several, is left out with its reason. Raises DataError for a folder that lacks the person or is of another one.
    """
    chosen, notes = _chosen(root, person, portraits, most)
    tracked: list[Tracked] = []
    left: list[Left] = []
    for picture in chosen:
        image = picture.data.read(picture.sequence, picture.index)
        found = track(image, small, landmarker)
        if isinstance(found, str):
            left.append(Left(picture.place, found))
        else:
            tracked.append(Tracked(picture.place, *found))
    return Found(tracked, left, notes, _digests(chosen))


def sources_of(root: Path, person: str, portraits: Path | None, most: int) -> dict[str, str]:
    """``sources`` of :func:`of_openheads`, which reads the same pictures and tracks none."""
    return _digests(_chosen(root, person, portraits, most)[0])


def _digests(chosen: Sequence[_Picture]) -> dict[str, str]:
    """sha256 of the recordings that pictures are of, by name; closes them."""
    found = {p.sequence: p.data.digest(p.sequence) for p in chosen}
    for data in {id(p.data): p.data for p in chosen}.values():
        data.close()
    return found


def track(
    image: NDArray[np.uint8], small: Decimated | None, landmarker: FaceLandmarker
) -> tuple[NDArray[np.uint8], Tensor, dict[str, Tensor]] | str:
    """The picture (H, W, 3) framed about its face as a user's portrait is, the neutral rest mesh (V, 3), and all that
    was found; or why there is none. ``small``: the rig that the mesh is wanted on; None: Anny's own.

    In the whole picture the face's share tells how large the head is, which a user's portrait will not.
    """
    seen = landmarker.extract([Frame(image)])[0]
    if isinstance(seen, Missing):
        return seen.reason
    face = to_track(seen)
    if face.faces != 1:
        return f"{face.faces} faces"
    try:
        fit = fit_portrait(face, (image.shape[1], image.shape[0]))
        around = framed(image, face)
    except DataError as error:
        return str(error)
    return around, rest_of(fit, small), _values(fit) | {
        "landmarks": torch.from_numpy(face.landmarks), "arkit": torch.from_numpy(face.arkit)
    }  # fmt: skip


def _values(fit: AnnyFit) -> dict[str, Tensor]:
    return {
        "shape": torch.from_numpy(fit.shape),
        "expression": torch.from_numpy(fit.expression),
        "joints": torch.from_numpy(fit.joints),
        "translation": torch.from_numpy(fit.translation),
        "rms_percent": torch.tensor(fit.rms_percent, dtype=torch.float32),
        **camera_values(fit.camera),
    }


def camera_values(camera: Camera) -> dict[str, Tensor]:
    """``K`` (3, 3) pixels and ``world_to_camera`` (4, 4) metres, OpenCV's axes, float64."""
    return {"K": torch.from_numpy(camera.K.copy()), "world_to_camera": torch.from_numpy(camera.world_to_camera.copy())}


def _chosen(root: Path, person: str, portraits: Path | None, most: int) -> tuple[list[_Picture], list[str]]:
    data = NersembleDataset(root)
    takes = _takes(data, person)
    where, notes = _portraits_of(root, person, portraits, PORTRAIT in takes)
    found: list[_Picture] = []
    if where is not None:
        source = data if where == root else NersembleDataset(where)
        cameras = nearest_cameras(source, person, PORTRAIT)
        found += [p for p in _pictures(source, person, PORTRAIT, cameras) if p.index == 0]
    moments = [p for take in takes if take != PORTRAIT for p in _pictures(data, person, take, (FRONTAL,))]
    if where is None:
        first = [p for p in moments if (p.place.take, p.place.step) == REST]
        moments = [*first, *(p for p in moments if p not in first)]
        stands = (
            f"the frontal picture of {moments[0].place.take}, frame {moments[0].place.step}," if moments else "none"
        )
        notes.append(f"there is no PORTRAIT of {person}: {stands} stands in for it")
    every = [*found, *moments]
    return ([every[0], *evenly(every[1:], most - 1)] if every and most > 1 else every[:most]), notes


def _portraits_of(root: Path, person: str, portraits: Path | None, here: bool) -> tuple[Path | None, list[str]]:
    """The folder that a person's PORTRAIT is taken from, and what to say of it."""
    if portraits is not None:
        if PORTRAIT not in _takes(NersembleDataset(portraits), person):
            raise DataError(f"{portraits} has no sequence PORTRAIT of person '{person}', which --portraits is to give.")
        if not _same(root, portraits, person):
            raise DataError(
                f"{portraits / person} is not the person of {root / person}: their identity.json differ. Name the "
                "portraits of the same people."
            )
        return portraits, []
    if here:
        return root, []
    shipped = embedded_split()
    if (shipped / person).is_dir() and _same(root, shipped, person):
        return shipped, [f"the PORTRAIT of {person} is the test split's, which ships"]
    return None, []


def _same(one: Path, other: Path, person: str) -> bool:
    """Whether two folders have the same person, by the bytes of its identity; two without one are taken at their
    word."""
    found = [(root / person / "identity.json") for root in (one, other)]
    there = [path.read_bytes() if path.is_file() else None for path in found]
    return there[0] == there[1]


def _takes(data: NersembleDataset, person: str) -> list[str]:
    names = [s for s in data.sequences() if data.identity(s) == person and AS_ANOTHER not in s]
    return sorted({name.removeprefix(f"{person}_").rpartition("_")[0] for name in names})


def _pictures(data: NersembleDataset, person: str, take: str, cameras: Sequence[str]) -> list[_Picture]:
    known = set(data.sequences())
    found: list[_Picture] = []
    for camera in cameras:
        name = f"{person}_{take}_{camera}"
        indices = range(data.length(name)) if name in known else ()
        found += [_Picture(Place(take, data.frame_number(name, i), camera), data, name, i) for i in indices]
    return found


def nearest_cameras(data: NersembleDataset, person: str, take: str) -> list[str]:
    """The frontal camera of a recording, then the :data:`SIDES` that look most nearly the same way; only itself where
    it is the only one. Raises DataError without the frontal camera."""
    start = f"{person}_{take}_"
    axes: dict[str, NDArray[np.float64]] = {}
    for name in data.sequences():
        camera = data.camera(name) if name.startswith(start) and name.count("_") == start.count("_") else None
        if camera is not None:
            axes[name.removeprefix(start)] = camera.world_to_camera[2, :3]
    if FRONTAL not in axes:
        raise DataError(f"{data.root} has no picture of '{start}{FRONTAL}': portraits are frontal.")
    others = sorted((s for s in axes if s != FRONTAL), key=lambda s: (-float(axes[s] @ axes[FRONTAL]), s))
    return [FRONTAL, *others[:SIDES]]
