"""A dataset with the FLAME tracking of another program beside it: VHAP's, Pixel3DMM's, or the NeRSemble benchmark's."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from avatarbench.dataset import Dataset
from avatarbench.datasets.imported_tracking import Source, Tracked, read_tracking, tracking_files
from avatarbench.errors import DataError
from avatarbench.method import Camera, FlameParameters


class TrackedDataset:
    """``dataset`` in all that it knows, and :meth:`flame` from the tracking of ``source`` in ``folder``.

    Its digests are the dataset's: pairs and pictures are the same, tracked or not.
    """

    def __init__(self, dataset: Dataset, source: Source, folder: Path | None) -> None:
        """Raises DataError for a folder that is not there, and for a dataset that ``source`` says nothing of."""
        if hasattr(dataset, "square"):
            raise DataError("prepared data has its tracking in it: leave --tracker out, or name the original data.")
        self.dataset, self.source, self.folder = dataset, source, folder
        self._found: dict[str, Tracked] = {}
        first = next(iter(dataset.sequences()), None)
        if first is not None:
            tracking_files(source, folder, dataset, first)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":  # as copying and unpickling ask, before there is anything
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def load(self, sequence: str, indices: Sequence[int]) -> None:
        """Read the tracking of ``indices`` at once. Raises DataError naming file and key."""
        wanted = sorted(set(indices) - self._found.get(sequence, {}).keys())
        files = tracking_files(self.source, self.folder, self.dataset, sequence) if wanted else []
        if files:
            self._found.setdefault(sequence, {}).update(
                read_tracking(self.source, files[0], self.dataset, sequence, wanted)
            )

    def flame(self, sequence: str, index: int) -> tuple[FlameParameters, Camera] | None:
        """The parameters of a frame, and the camera in whose space they are, in pixels of the whole frame; None where
        it was not tracked. Raises DataError."""
        self.load(sequence, [index])
        return self._found.get(sequence, {}).get(index)


def tracking_digest(found: Iterable[tuple[FlameParameters, Camera] | None]) -> str:
    """sha256 over parameters and cameras, in order; a frame without counts as such."""
    digest = hashlib.sha256()
    for one in found:
        if one is None:
            digest.update(b"-")
            continue
        flame, camera = one
        for values in (*vars(flame).values(), camera.K, camera.world_to_camera):
            digest.update(b"-" if values is None else values.tobytes())
    return digest.hexdigest()
