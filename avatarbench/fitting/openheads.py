"""A person of an OpenHeads folder as the subject of a fit: every camera's pictures, and Anny's mesh by the exact
truth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.errors import DataError
from avatarbench.fitting.sources import digest, of_openheads
from avatarbench.fitting.subject import Pictures, View, sized
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import GaussianHead
from avatarbench.heads.anny import AnnyRig, load_anny
from avatarbench.heads.decimate import Decimated, decimate
from avatarbench.heads.rig import rotation_matrix
from avatarbench.method import Camera
from avatarbench.openheads.identity import Identity
from avatarbench.tracking.truth import Truth, read_truth

AS_ANOTHER = "-AS-"
"""In the name of a sequence in which the person makes another one's motion."""


class OpenHeadsSubject:
    """One person of an OpenHeads folder. ``faces``: the rig is decimated to about so many, None keeps it; ``size``:
    pixels of the pictures' longer side, None keeps it.

    Raises DataError for a person that the folder does not have, one without calibrated cameras, and a missing or
    damaged ``identity.json`` or ``truth.npz``; a damaged picture is found when it is asked for.
    """

    rig = "anny"

    def __init__(self, root: Path, person: str, faces: int | None = None, size: int | None = None) -> None:
        self._data = NersembleDataset(root)
        mine = [s for s in self._data.sequences() if self._data.identity(s) == person and AS_ANOTHER not in s]
        if not mine:
            raise DataError(f"{root} has no person '{person}'; it has {', '.join(people(self._data))}.")
        self._person = person
        self._identity = _identity(root / person / "identity.json")
        self._count = faces
        self.views: list[View] = []
        self._at: list[tuple[str, int]] = []
        self._cameras: dict[str, Camera] = {}
        self._truths: dict[str, Truth] = {}
        for sequence in mine:
            take, _, serial = sequence.removeprefix(f"{person}_").rpartition("_")
            if take not in self._truths:
                self._truths[take] = read_truth(root / person / "sequences" / take / "truth.npz")
            camera = self._data.camera(sequence)
            if camera is None:
                raise DataError(
                    f"{root / person} has no calibration/camera_params.json: a fit needs calibrated cameras. Copy the "
                    "person's whole folder."
                )
            self._cameras[sequence] = sized(camera, size)
            for index in range(self._data.length(sequence)):
                step = self._data.frame_number(sequence, index)
                self._truths[take].row(step)
                self.views.append(View(take, step, serial))
                self._at.append((sequence, index))
        self._posed: dict[tuple[str, int], Tensor] = {}
        self._pictures = Pictures(self._picture, self._picture_size)

    def __len__(self) -> int:
        return len(self.views)

    # The rig takes seconds: what is wrong with a folder, or with what is asked of it, is said before.
    @cached_property
    def _rig(self) -> AnnyRig:
        return load_anny()

    @cached_property
    def _shape(self) -> Tensor:
        return self._rig.shape(self._identity.phenotypes, self._identity.local_changes)

    @cached_property
    def _small(self) -> Decimated | None:
        return None if self._count is None else _decimated(self._count)

    @property
    def faces(self) -> Tensor:
        return self._rig.faces if self._small is None else self._small.faces

    def image(self, view: int) -> Tensor:
        """(H, W, 3) float32 in [0, 1]; OpenHeads' pictures are on white."""
        return self._pictures[view]

    def camera(self, view: int) -> Camera:
        return self._cameras[self._at[view][0]]

    def vertices(self, view: int) -> Tensor:
        """(V, 3) metres, by the truth of the view's time step."""
        take, step = self.views[view].take, self.views[view].step
        if (take, step) not in self._posed:
            truth = self._truths[take]
            row = slice(truth.row(step), truth.row(step) + 1)
            with torch.no_grad():
                posed = self._rig(
                    self._shape,
                    torch.from_numpy(truth.expression[row]),
                    rotation_matrix(torch.from_numpy(truth.joints[row])),
                    torch.from_numpy(truth.translation[row]),
                )
                self._posed[take, step] = self._placed(posed.vertices[0])
        return self._posed[take, step]

    def motion(self, view: int) -> tuple[Tensor, Tensor, Tensor]:
        """The truth's expression (52,), joints (8, 3) and translation (3,) of the view's time step."""
        truth = self._truths[self.views[view].take]
        row = truth.row(self.views[view].step)
        expression, joints, translation = (
            torch.from_numpy(part[row]) for part in (truth.expression, truth.joints, truth.translation)
        )
        return expression, joints, translation

    def keep(self, room: int) -> None:
        """Hold at most so many bytes of decoded pictures in memory."""
        self._pictures.keep(room)

    def rest(self) -> Tensor:
        with torch.no_grad():
            return self._placed(self._rig.rest(self._shape, torch.zeros(1, 0))[0][0])

    def refinements(self) -> Sequence[tuple[Tensor, float]]:
        """None: the truth needs no refining."""
        return []

    def head(self, cloud: Cloud) -> GaussianHead:
        """The drivable head of a canonical cloud bound to :attr:`faces`."""
        return GaussianHead(cloud, self._rig, self._shape[0], self._small)

    def sources(self, views: Sequence[int]) -> Mapping[str, str]:
        """Of the recordings that the views are of, all their pictures; of the truth, and of the shape."""
        found = of_openheads(self._data, self._person, (self._at[view][0] for view in views))
        return {"pictures and cameras": digest(found["pictures"]), "truth and shape": digest(found["files"])}

    def _placed(self, full: Tensor) -> Tensor:
        return full if self._small is None else self._small.vertices(full)

    def _picture(self, view: int) -> NDArray[np.uint8]:
        return self._data.read(*self._at[view])

    def _picture_size(self, view: int) -> tuple[int, int]:
        camera = self.camera(view)
        return camera.width, camera.height


@cache
def _decimated(faces: int) -> Decimated:
    """Seconds, and the same for everybody whom a process fits."""
    return decimate(load_anny(), faces)


def people(data: NersembleDataset) -> list[str]:
    """The first twenty people of a folder, for messages."""
    return sorted({data.identity(s) for s in data.sequences()})[:20]


def _identity(path: Path) -> Identity:
    try:
        return Identity.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): is this a folder of 'avatarbench data openheads'?"
        ) from error
