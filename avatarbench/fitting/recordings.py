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

        A tracker's sequence may be the beginning of the recording's name: ``EMO-1`` of ``EMO-1-shout+laugh``.
        The time step is the number that ends ``timestep_id`` (VHAP's name for the extracted frame), or
        ``timestep_index_original``, or the view's. Raises DataError for a picture that is in neither.
        """
        sequence, steps = self._of(view, frame, where)
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

    def digest(self, view: View, frame: Mapping[str, Any], where: Path) -> str:
        """sha256 of the recording that a view is of, with its masks."""
        return self._data.digest(self.find(view, frame, where)[0])

    def _take(self, name: str) -> str:
        """The one recording of that name, or whose name begins so; ``name`` itself where there is none."""
        found = [take for take in self._takes if take.startswith(f"{name}-")]
        if name in self._takes or not found:
            return name
        if len(found) > 1:
            raise DataError(
                f"{self.root} has {', '.join(found)} of person '{self.person}', and the export's '{name}' may be any "
                "of them: name its folder after the whole sequence, e.g. "
                f"{self.person}_{found[0]}_v16."
            )
        return found[0]

    @cached_property
    def _takes(self) -> list[str]:
        mine = [name for name in self._data.sequences() if self._data.identity(name) == self.person]
        return sorted({name.removeprefix(f"{self.person}_").rpartition("_")[0] for name in mine})

    @cached_property
    def _data(self) -> NersembleDataset:
        return NersembleDataset(self.root)

    def _of(self, view: View, frame: Mapping[str, Any], where: Path) -> tuple[str, dict[int, int]]:
        """The reader's sequence, and its index by frame number."""
        try:
            sequence = f"{self.person}_{self._take(view.take)}_{view.camera}"
            count = self._data.length(sequence)
        except DataError as error:
            picture = frame.get("file_path", "no picture")
            raise DataError(
                f"{where} names {picture}, which is not there, and it is not found in the data either: {error}"
            ) from error
        if sequence not in self._steps:
            self._steps[sequence] = {self._data.frame_number(sequence, i): i for i in range(count)}
        return sequence, self._steps[sequence]
