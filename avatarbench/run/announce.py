"""The frames that an avatar is told of before the first, one of them in memory at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from avatarbench.method import Motion

PICTURES = ("image", "target")
Place = tuple[int, tuple[int, ...], np.dtype[Any]]
"""Where a picture is in the file, its shape and its dtype."""


class Spool(Sequence[Motion]):
    """Motions whose pictures lie in a file in ``folder``: whoever asks for one gets its own copy of them.

    1,000 drivers of 512 pixels are 0.8 GB. The file has no name, so that nothing stays of it however the process ends.
    Raises OSError where it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (open for as long as somebody has the motions)
        self._motions: list[tuple[Motion, dict[str, Place]]] = []
        self._numbers: dict[str, int] = {}

    def append(self, motion: Motion) -> None:
        places: dict[str, Place] = {}
        for name in PICTURES:
            picture = getattr(motion, name)
            if picture is not None:
                places[name] = (self._file.seek(0, 2), picture.shape, picture.dtype)
                self._file.write(np.ascontiguousarray(picture).reshape(-1).view(np.uint8).data)
        self._numbers[motion.id] = len(self._motions)
        without: dict[str, Any] = dict.fromkeys(places, np.zeros((0, 0, 3), np.uint8))
        self._motions.append((replace(motion, **without), places))

    def find(self, name: str) -> Motion | None:
        """The motion of that id."""
        return self[self._numbers[name]] if name in self._numbers else None

    def __len__(self) -> int:
        return len(self._motions)

    @overload
    def __getitem__(self, index: int) -> Motion: ...

    @overload
    def __getitem__(self, index: slice) -> list[Motion]: ...

    def __getitem__(self, index: int | slice) -> Motion | list[Motion]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        motion, places = self._motions[index]
        pictures: dict[str, Any] = {name: self._read(place) for name, place in places.items()}
        return replace(motion, **pictures)

    def _read(self, place: Place) -> NDArray[Any]:
        offset, shape, dtype = place
        picture = np.empty(shape, dtype)
        self._file.seek(offset)
        self._file.readinto(picture.reshape(-1).view(np.uint8).data)
        return picture
