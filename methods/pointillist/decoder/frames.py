"""What the decoder's Gaussians are compared with: pictures of a person, each with its camera and the head's motion."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from avatarbench.errors import DataError, UsageError
from avatarbench.fitting.config import FitConfig
from avatarbench.fitting.run import Person, open_subject
from avatarbench.fitting.sources import sha256
from avatarbench.fitting.subject import KEPT_BYTES
from avatarbench.method import Camera
from avatarbench.methods.pointillist.build_request import UP, export_of
from avatarbench.methods.pointillist.training_set import IDENTITY


class Pose(NamedTuple):
    """``expression`` (E,), ``joints`` (J, 3) axis-angle radians, ``translation`` (3,) metres, as the rig takes them."""

    expression: Tensor
    joints: Tensor
    translation: Tensor


class Frame(NamedTuple):
    """``image`` (H, W, 3) float32 in [0, 1] over white, as ``camera`` saw the head under ``pose``."""

    image: Tensor
    camera: Camera
    pose: Pose

    def scaled(self, scale: float) -> Frame:
        """The same picture for a head that is ``scale`` times as large.

        The whole scene grows about the camera's centre: R (s x + s t) + s T = s (R (x + t) + T) projects where
        R (x + t) + T does. So a head of s times the size, moved by s t and seen by a camera with s T, covers what the
        true one covers. Expressions keep their metres, as they do on any head of the rig.
        """
        view = self.camera.world_to_camera.copy()
        view[:3, 3] *= scale
        pose = self.pose._replace(translation=self.pose.translation * scale)
        return self._replace(camera=replace(self.camera, world_to_camera=view), pose=pose)


class Frames(Protocol):
    """Pictures by person. ``digest``: of all that decides what they show but the pictures' own bytes."""

    @property
    def digest(self) -> str: ...

    def count(self, person: str) -> int: ...

    def frame(self, person: str, number: int) -> Frame: ...


class Recordings:
    """People of a folder, resized to ``size`` pixels on the longer side: OpenHeads' with the truth, or, on
    ``flame-teeth``, NeRSemble's with VHAP's exports in ``tracking``, of which test divisions are left out.

    ``people``: who is needed, each with what the training set says of them (``TrainingSet.marks``). Pictures are read
    when they are asked for, and kept while there is room. Raises DataError for a person who is not there, has no
    picture or is another one than the set's; UsageError where rig and tracking do not go together; AssetError for FLAME
    that was not imported.
    """

    def __init__(
        self, root: Path, people: Mapping[str, Mapping[str, str]], rig: str, size: int, tracking: Path | None = None
    ) -> None:
        if rig not in UP or (rig == "anny") == (tracking is not None):
            raise UsageError(
                f"rig={rig} {'with' if tracking else 'without'} --tracking: OpenHeads' people are on 'anny', those "
                "with VHAP exports, which --tracking names, on 'flame-teeth'."
            )
        config = FitConfig(size=size, refine=False, device="cpu")
        found = hashlib.sha256(f"{rig} {size}".encode())
        self._subjects: dict[str, Person] = {}
        self._views: dict[str, list[int]] = {}
        for person, marks in people.items():
            _check_same(root, person, marks)
            export = None if tracking is None else export_of(tracking, person)
            subject = open_subject(root, person, config, export, torch.device("cpu"))
            subject.keep(KEPT_BYTES // len(people))
            views = [number for number, view in enumerate(subject.views) if not view.held]
            if not views:
                raise DataError(f"{root} has no picture of '{person}' that may be trained on: copy the whole person.")
            self._subjects[person], self._views[person] = subject, views
            for number in views:
                camera = subject.camera(number)
                found.update(f"{person} {subject.views[number]} {camera.width} x {camera.height}".encode())
                for part in (camera.K, camera.world_to_camera, *(value.numpy() for value in subject.motion(number))):
                    found.update(np.ascontiguousarray(part).tobytes())
        self.digest = found.hexdigest()

    def count(self, person: str) -> int:
        return len(self._views[person])

    def frame(self, person: str, number: int) -> Frame:
        """The ``number``-th of the person's. Raises DataError for a picture that is damaged."""
        subject, view = self._subjects[person], self._views[person][number]
        return Frame(subject.image(view), subject.camera(view), Pose(*subject.motion(view)))


def _check_same(root: Path, person: str, marks: Mapping[str, str]) -> None:
    """Whether the folder's person is the set's, as far as both say who they are."""
    path = root / person / "identity.json"
    if IDENTITY in marks and path.is_file() and sha256(path) != marks[IDENTITY]:
        raise DataError(
            f"{root / person} is not the person '{person}' of the training set: their identity.json differ. Name the "
            "folder that the set was made from."
        )
