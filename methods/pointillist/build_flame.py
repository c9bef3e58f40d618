"""Portraits of a person whom VHAP tracked: pictures of its export, and the head that a tracker read off each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarbench.errors import DataError
from avatarbench.fitting.held_out import pixels
from avatarbench.fitting.nersemble import VhapSubject, divisions
from avatarbench.fitting.run import evenly
from avatarbench.fitting.sources import sha256
from avatarbench.gaussians.head import GaussianHead
from avatarbench.method import Camera, FlameParameters
from avatarbench.methods.pointillist.build_portraits import SIDES, Found, Left, Place, Tracked, camera_values
from avatarbench.openheads.cameras import FRONTAL
from avatarbench.tracking.pixel3dmm import Pixel3dmmFrames, read_frame

FRONT = np.array([0.0, 0.0, 1.0])
"""Where FLAME's face looks."""


def of_vhap(
    subject: VhapSubject, head: GaussianHead, root: Path, person: str, export: Path, monocular: Path | None, most: int
) -> Found:
    """At most ``most`` portraits of a person that an export tracks: the first time step by the frontal camera and the
    two nearest to it, then the other time steps' frontal pictures.

    The head of a portrait is VHAP's, which is one for all of a person's pictures; or, with the folder ``monocular``,
    what Pixel3DMM read off that picture alone, from ``<person>_<take>_<camera>/`` and the frame numbered as the time
    step. A picture that it did not track is left out. Raises DataError.
    """
    frames = [(found, index) for found, _ in divisions(export, root) for index in range(len(found))]
    chosen = _chosen(subject, most)
    tracked: list[Tracked] = []
    left: list[Left] = []
    for view in chosen:
        place = _place(subject, view)
        if monocular is None:
            flame, camera, mesh = frames[view][0].flame(frames[view][1]), subject.camera(view), subject.rest()
        else:
            path = _frame(monocular, person, place)
            if path is None:
                left.append(Left(place, "Pixel3DMM did not track it"))
                continue
            flame, camera = read_frame(path)
            mesh = _rest(head, flame)
        tracked.append(Tracked(place, pixels(subject.image(view).numpy()), mesh.clone(), _values(flame, camera)))
    return Found(tracked, left, [], sources_of(subject, person, monocular, most))


def sources_of(subject: VhapSubject, person: str, monocular: Path | None, most: int) -> dict[str, str]:
    """sha256 of Pixel3DMM's files that the portraits' heads are read from; none without ``monocular``, for the
    subject's own sources cover the export."""
    if monocular is None:
        return {}
    places = [_place(subject, view) for view in _chosen(subject, most)]
    paths = {str(place): _frame(monocular, person, place) for place in places}
    return {place: sha256(path) for place, path in paths.items() if path is not None}


def _place(subject: VhapSubject, view: int) -> Place:
    seen = subject.views[view]
    return Place(seen.take, seen.step, seen.camera)


def _chosen(subject: VhapSubject, most: int) -> list[int]:
    """At most so many views, the portrait's first."""
    open_ = [n for n, v in enumerate(subject.views) if not v.held]
    if not open_:
        raise DataError("the export keeps all pictures from training.")
    moments = list(dict.fromkeys((subject.views[n].take, subject.views[n].step) for n in open_))
    first = [n for n in open_ if (subject.views[n].take, subject.views[n].step) == moments[0]]
    axes = {subject.views[n].camera: subject.camera(n).world_to_camera[2, :3] for n in first}
    face = _facing(subject, first[0])
    frontal = FRONTAL if FRONTAL in axes else min(axes, key=lambda s: (float(axes[s] @ face), s))
    others = sorted((s for s in axes if s != frontal), key=lambda s: (-float(axes[s] @ axes[frontal]), s))
    cameras = [frontal, *others[:SIDES]]
    found = sorted(
        (n for n in first if subject.views[n].camera in cameras), key=lambda n: cameras.index(_camera(subject, n))
    )
    every = [*found, *(n for n in open_ if n not in first and _camera(subject, n) == frontal)]
    return [every[0], *evenly(every[1:], most - 1)] if most > 1 else every[:1]


def _camera(subject: VhapSubject, view: int) -> str:
    return subject.views[view].camera


def _facing(subject: VhapSubject, view: int) -> np.ndarray:
    """(3,) the direction that the face looks in at a view's time step: the rigid motion from rest (Kabsch 1976)."""
    with torch.no_grad():
        posed, rest = (v.double().cpu().numpy() for v in (subject.vertices(view), subject.rest()))
    u, _, vt = np.linalg.svd((rest - rest.mean(0)).T @ (posed - posed.mean(0)))
    turn = (u @ np.diag([1.0, 1, np.sign(np.linalg.det(u @ vt))]) @ vt).T
    return np.asarray(turn @ FRONT)


def _frame(folder: Path, person: str, place: Place) -> Path | None:
    """The file of a picture's tracking; None where there is none. Raises DataError for a person without any."""
    name = f"{person}_{place.take}_{place.camera}"
    if not (folder / name).is_dir():
        if not any(folder.glob(f"{person}_*")):
            raise DataError(f"{folder} has no tracking of person '{person}': it is to lie in folders such as {name}.")
        return None
    paths = Pixel3dmmFrames(folder / name).paths
    return next((path for path in paths if int(path.stem) == place.step), None)


def _rest(head: GaussianHead, flame: FlameParameters) -> Tensor:
    with torch.no_grad():
        full = head.rig.rest(torch.from_numpy(flame.shape)[None], torch.zeros(1, 0))[0][0]
    return full if head.small is None else head.small.vertices(full)


def _values(flame: FlameParameters, camera: Camera) -> dict[str, Tensor]:
    names = ("shape", "expr", "rotation", "neck_pose", "jaw_pose", "eyes_pose", "translation")
    return {name: torch.from_numpy(getattr(flame, name).copy()) for name in names} | camera_values(camera)
