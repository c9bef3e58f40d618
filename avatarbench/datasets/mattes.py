"""A user's matting folder: foreground pictures for data that comes without, or better ones.

``DIR/NAME.mp4``, or a folder ``DIR/NAME`` of pictures whose names end in the frame's number; ``NAME`` is the
sequence's, or the clip's own where that differs. A picture's alpha channel counts where it has one, its brightness
otherwise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avatarbench.dataset import Dataset, camera_of, frame_number_of, identity_of, mask_of, views_of
from avatarbench.datasets.clips import ClipDataset, existing, visible
from avatarbench.datasets.images import IMAGE_SUFFIXES
from avatarbench.datasets.ledger import sha256
from avatarbench.datasets.video import Video
from avatarbench.errors import DataError
from avatarbench.method import Camera, Views

NUMBER = re.compile(r"(\d+)$")


class Matted:
    """A dataset whose masks are those of a matting folder; its digests cover them.

    A sequence that the folder has nothing of keeps the dataset's own masks, or has none. Raises DataError for a folder
    that has mattes of no sequence.
    """

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.dataset = dataset
        self.folder = existing(folder, "the folder of the mattes")
        self._files: dict[str, Path] = {}
        for name in dataset.sequences():
            for candidate in (name, own_name(dataset, name)):
                for path in (self.folder / f"{candidate}.mp4", self.folder / candidate):
                    if path.exists() and path.resolve().is_relative_to(self.folder.resolve()):
                        self._files.setdefault(name, path)
        if not self._files:
            first = next(iter(dataset.sequences()), "NAME")
            raise DataError(f"{folder} has mattes of no sequence (looked for {first}.mp4 and a folder {first}).")
        self._open: tuple[str, Video] | None = None
        self._pictures: dict[str, dict[int, Path]] = {}

    @property
    def home(self) -> Path | None:
        return getattr(self.dataset, "home", None)

    def sequences(self) -> Sequence[str]:
        return self.dataset.sequences()

    def length(self, sequence: str) -> int:
        return self.dataset.length(sequence)

    def read(self, sequence: str, index: int) -> NDArray[np.uint8]:
        return self.dataset.read(sequence, index)

    def notes(self, sequence: str) -> Sequence[str]:
        return self.dataset.notes(sequence)

    def identity(self, sequence: str) -> str:
        return identity_of(self.dataset, sequence)

    def camera(self, sequence: str) -> Camera | None:
        return camera_of(self.dataset, sequence)

    def frame_number(self, sequence: str, index: int) -> int:
        return frame_number_of(self.dataset, sequence, index)

    def views(self, sequence: str, held_out: Sequence[str]) -> Views | None:
        return views_of(self.dataset, sequence, held_out)

    def digest(self, sequence: str) -> str:
        """The dataset's, and where there are mattes one over it and theirs."""
        path, own = self._files.get(sequence), self.dataset.digest(sequence)
        if path is None:
            return own
        try:
            each = [sha256(f) for f in ([path] if path.is_file() else self._numbered(sequence).values())]
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        return hashlib.sha256("\n".join([own, *each]).encode()).hexdigest()

    def mask(self, sequence: str, index: int) -> NDArray[np.float32] | None:
        """(H, W) float32 in [0, 1], the size of the frame. Raises DataError for a matte that is missing or of another
        size."""
        path = self._files.get(sequence)
        if path is None:
            return mask_of(self.dataset, sequence, index)
        if path.is_file():
            matte = self._video(sequence, path).read(index)[..., 1]
        else:
            number = self.frame_number(sequence, index)
            file = self._numbered(sequence).get(number)
            if file is None:
                raise DataError(f"{path} has no matte of frame {number}: its name should end in {number:08d}.")
            matte = _alpha(file)
        shape = self.dataset.read(sequence, index).shape[:2]
        if matte.shape != shape:
            height, width = matte.shape
            raise DataError(
                f"{path}: the matte of frame {index} is {width} x {height}, the frame {shape[1]} x {shape[0]}: "
                "mattes are of whole frames, not of crops."
            )
        return np.divide(matte, 255, dtype=np.float32)

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
        self._open = None

    def _video(self, sequence: str, path: Path) -> Video:
        if self._open is None or self._open[0] != sequence:
            self.close()
            self._open = sequence, Video(path)
        return self._open[1]

    def _numbered(self, sequence: str) -> dict[int, Path]:
        if sequence not in self._pictures:
            entries, _ = visible(self._files[sequence], self.folder)
            pictures = [e for e in entries if e.suffix.lower() in IMAGE_SUFFIXES and e.is_file()]
            self._pictures[sequence] = {int(m[1]): e for e in pictures if (m := NUMBER.search(e.stem))}
        return self._pictures[sequence]


def own_name(dataset: Dataset, sequence: str) -> str:
    """A clip's folder or file name, which its sequence's may have lost characters of."""
    if not isinstance(dataset, ClipDataset):
        return sequence
    clip = dataset.clips[sequence]
    return clip.path.stem if clip.is_video else clip.path.name


def _alpha(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP", "TIFF", "BMP")) as image:
            return np.asarray(image.getchannel("A") if "A" in image.getbands() else image.convert("L"), np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read as a matte ({error}): make it again.") from error
