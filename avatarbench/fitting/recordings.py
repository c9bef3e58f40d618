"""Pictures of a NeRSemble folder for a tracker's export that comes without them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.errors import DataError
from avatarbench.fitting.subject import View

NUMBER = re.compile(r"(\d+)$")


class Recordings:
    """One person's recordings, opened when the first picture is looked for."""

    def __init__(self, root: Path, person: str) -> None:
        self.root, self.person = root, person
        self._steps: dict[str, dict[int, int]] = {}

    def find(self, view: View, frame: Mapping[str, Any], where: Path) -> tuple[str, int]:
        """The reader's sequence and index of a view. ``frame``: its entry in the export ``where``.

        The time step is the number that ends ``timestep_id`` (VHAP's name for the extracted frame), or
        ``timestep_index_original``, or the view's. Raises DataError for a picture that is in neither.
        """
        sequence = f"{self.person}_{view.take}_{view.camera}"
        steps = self._of(sequence, frame, where)
        found = NUMBER.search(str(frame.get("timestep_id", "")))
        original = frame.get("timestep_index_original")
        number = int(found[1]) if found else original if isinstance(original, int) else view.step
        if number not in steps:
            raise DataError(
                f"'{sequence}' of {self.root} has no frame {number}, which {where} tracks: is it the same recording?"
            )
        return sequence, steps[number]

    def read(self, view: View, frame: Mapping[str, Any], where: Path) -> NDArray[np.uint8]:
        """(H, W, 3) over white by the folder's mask; as recorded where it has none."""
        sequence, index = self.find(view, frame, where)
        image = self._data.read(sequence, index)
        mask = self._data.mask(sequence, index)
        if mask is None:
            return image
        return np.asarray(np.rint(image * mask[..., None] + 255 * (1 - mask[..., None])), np.uint8)

    @cached_property
    def _data(self) -> NersembleDataset:
        return NersembleDataset(self.root)

    def _of(self, sequence: str, frame: Mapping[str, Any], where: Path) -> dict[int, int]:
        """Index by frame number."""
        if sequence not in self._steps:
            try:
                count = self._data.length(sequence)
            except DataError as error:
                picture = frame.get("file_path", "no picture")
                raise DataError(
                    f"{where} names {picture}, which is not there, and it is not in the data either: {error}"
                ) from error
            self._steps[sequence] = {self._data.frame_number(sequence, i): i for i in range(count)}
        return self._steps[sequence]
