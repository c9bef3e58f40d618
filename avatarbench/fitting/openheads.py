"""A person of an OpenHeads folder as the subject of a fit: every camera's pictures, and Anny's mesh by the exact
truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.errors import DataError
from avatarbench.heads.anny import load_anny
from avatarbench.heads.decimate import Decimated, decimate
from avatarbench.heads.rig import rotation_matrix
from avatarbench.method import Camera
from avatarbench.openheads.identity import Identity
from avatarbench.tracking.truth import read_truth

AS_ANOTHER = "-AS-"
"""In the name of a sequence in which the person makes another one's motion."""


@dataclass(frozen=True)
class View:
    """One picture: a frame of a reader's ``sequence``, at time ``step`` of the ``take``."""

    sequence: str
    index: int
    take: str
    step: int
    camera: str


class OpenHeadsSubject:
    """One person of an OpenHeads folder. ``faces``: the rig is decimated to about so many, None keeps it.

    Pictures are read when they are asked for and then kept. Raises DataError for a person that the folder does not
    have.
    """

    def __init__(self, root: Path, person: str, faces: int | None = None, size: int | None = None) -> None:
        self._data = NersembleDataset(root)
        mine = [s for s in self._data.sequences() if self._data.identity(s) == person and AS_ANOTHER not in s]
        if not mine:
            known = sorted({self._data.identity(s) for s in self._data.sequences()})
            raise DataError(f"{root} has no person '{person}'; it has {', '.join(known[:20])}.")
        self._size = size
        self._rig = load_anny()
        identity = _identity(root / person / "identity.json")
        self._shape = self._rig.shape(identity.phenotypes, identity.local_changes)
        self._small: Decimated | None = None if faces is None else decimate(self._rig, faces)
        self.faces = self._rig.faces if self._small is None else self._small.faces
        self.views: list[View] = []
        self._vertices: dict[tuple[str, int], Tensor] = {}
        for sequence in mine:
            _, _, rest = sequence.partition("_")
            take, _, camera = rest.rpartition("_")
            for index in range(self._data.length(sequence)):
                step = self._data.frame_number(sequence, index)
                self.views.append(View(sequence, index, take, step, camera))
        for take in {view.take for view in self.views}:
            self._pose(root / person / "sequences" / take / "truth.npz", take)
        self._images: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.views)

    def image(self, view: int) -> Tensor:
        """(H, W, 3) float32 in [0, 1]; OpenHeads' pictures are on white."""
        if view not in self._images:
            at = self.views[view]
            image = self._data.read(at.sequence, at.index)
            if self._size is not None and self._size != image.shape[0]:
                from PIL import Image

                image = np.asarray(Image.fromarray(image).resize((self._size, self._size), Image.Resampling.LANCZOS))
            self._images[view] = torch.from_numpy(image.astype(np.float32) / 255)
        return self._images[view]

    def camera(self, view: int) -> Camera:
        camera = self._data.camera(self.views[view].sequence)
        if camera is None:
            raise DataError(
                f"'{self.views[view].sequence}' has no calibrated camera: a fit needs one for every picture."
            )
        if self._size is None or self._size == camera.width:
            return camera
        k = camera.K.copy()
        k[:2] *= self._size / camera.width
        return Camera(k, camera.world_to_camera, self._size, self._size)

    def vertices(self, view: int) -> Tensor:
        at = self.views[view]
        return self._vertices[at.take, at.step]

    def rest(self) -> Tensor:
        with torch.no_grad():
            return self._placed(self._rig.rest(self._shape, torch.zeros(1, 0))[0][0])

    def refinements(self) -> Sequence[tuple[Tensor, float]]:
        """None: the truth needs no refining."""
        return []

    def _placed(self, full: Tensor) -> Tensor:
        return full if self._small is None else self._small.vertices(full)

    def _pose(self, path: Path, take: str) -> None:
        truth = read_truth(path)
        steps = sorted({view.step for view in self.views if view.take == take})
        rows = [truth.row(step) for step in steps]
        with torch.no_grad():
            for step, row in zip(steps, rows, strict=True):
                posed = self._rig(
                    self._shape,
                    torch.from_numpy(truth.expression[row : row + 1]),
                    rotation_matrix(torch.from_numpy(truth.joints[row : row + 1])),
                    torch.from_numpy(truth.translation[row : row + 1]),
                )
                self._vertices[take, step] = self._placed(posed.vertices[0])


def _identity(path: Path) -> Identity:
    try:
        return Identity.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): is this a folder of 'avatarbench data openheads'?"
        ) from error
