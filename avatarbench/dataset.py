"""The dataset contract: named sequences of frames, read lazily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class DatasetSpec:
    """All that can be said of a dataset without importing its reader.

    ``factory`` is ``"package.module:callable"``, called with ``root`` (the user's path or None for the embedded data)
    and returning a :class:`Dataset`. ``option`` is the CLI flag that sets ``root``.
    """

    id: str
    name: str
    summary: str
    licence: str
    access: str
    factory: str
    assets: tuple[str, ...] = ()
    option: str = ""


class Dataset(Protocol):
    """Sequences of frames. A still image is a sequence of one frame. Reading forward in a video is cheap."""

    def sequences(self) -> Sequence[str]:
        """Names, sorted, unique, free of path separators."""
        ...

    def length(self, sequence: str) -> int:
        """Frames that can really be decoded."""
        ...

    def read(self, sequence: str, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 sRGB. Raises DataError for a frame that cannot be decoded."""
        ...

    def digest(self, sequence: str) -> str:
        """sha256 of the file (or of the sorted files) behind the sequence."""
        ...

    def notes(self, sequence: str) -> Sequence[str]:
        """Conversions that reading made, e.g. ``"grey-scale to RGB"``; shown and recorded, never silent."""
        ...
