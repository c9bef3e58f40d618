"""The dataset contract: named sequences of frames, read lazily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from avatarbench.datasets.crop import Crop
    from avatarbench.method import Camera, FlameParameters, Views
    from avatarbench.protocol import ImageContract


@dataclass(frozen=True)
class DatasetSpec:
    """All that can be said of a dataset without importing its reader.

    ``factory`` is ``"package.module:callable"``, called with ``root`` (the user's path or None for the embedded data)
    and returning a :class:`Dataset`. ``option`` is the CLI flag that sets ``root``. ``family`` is what
    ``MethodSpec.trained_on`` names: subsets and resized copies of one data set share it; empty means the id.
    """

    id: str
    name: str
    summary: str
    licence: str
    access: str
    factory: str
    assets: tuple[str, ...] = ()
    option: str = ""
    family: str = ""


class Dataset(Protocol):
    """Sequences of frames. A still image is a sequence of one frame. Reading forward in a video is cheap.

    A dataset that knows more also has some of ``identity``, ``camera``, ``mask``, ``frame_number``, ``flame``,
    ``views`` and ``square``, with the arguments and results of :func:`identity_of`, :func:`camera_of`,
    :func:`mask_of`, :func:`frame_number_of`, :func:`flame_of`, :func:`views_of` and :func:`square_of`.
    """

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


def identity_of(dataset: Dataset, sequence: str) -> str:
    """Who is seen: sequences of one person give one name. Without ``identity``, every sequence is a person."""
    return _ask(dataset, "identity", sequence, sequence)


def camera_of(dataset: Dataset, sequence: str) -> Camera | None:
    """The calibrated camera in pixels of the frames as :meth:`Dataset.read` gives them; None where there is none.

    Raises DataError for a calibration that is damaged or of another camera.
    """
    return _ask(dataset, "camera", None, sequence)


def mask_of(dataset: Dataset, sequence: str, index: int) -> NDArray[np.float32] | None:
    """The foreground, (H, W) float32 in [0, 1], of the frame's size; None where there is none. Raises DataError."""
    return _ask(dataset, "mask", None, sequence, index)


def frame_number_of(dataset: Dataset, sequence: str, index: int) -> int:
    """The time step that a frame shows: equal in sequences that were taken together. Without it, the index."""
    return _ask(dataset, "frame_number", index, sequence, index)


def flame_of(dataset: Dataset, sequence: str, index: int) -> tuple[FlameParameters, Camera] | None:
    """What a tracker found in a frame, with the camera in whose space it is, in pixels of the frames as
    :meth:`Dataset.read` gives them; None where there is none. Raises DataError for tracking that is damaged."""
    return _ask(dataset, "flame", None, sequence, index)


def views_of(dataset: Dataset, sequence: str, held_out: Sequence[str]) -> Views | None:
    """Where the person of ``sequence`` is seen from many sides, with the recordings that the sequences ``held_out``
    belong to; None for a dataset that says nothing of it."""
    return _ask(dataset, "views", None, sequence, held_out)


def square_of(dataset: Dataset, sequence: str, contract: ImageContract) -> Crop | None:
    """The square of ``contract`` in frames that were prepared under it, background and all; None for a dataset whose
    frames are as they were recorded. Raises DataError where they were prepared under another contract, Unscorable
    where no frame of the sequence shows a face."""
    return _ask(dataset, "square", None, sequence, contract)


def _ask(dataset: Dataset, name: str, default: Any, *arguments: Any) -> Any:
    method = getattr(dataset, name, None)
    return default if method is None else method(*arguments)
