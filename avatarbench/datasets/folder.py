"""A user's own files as a dataset: a folder of portraits, of frame folders and of videos, or one file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from avatarbench.datasets.images import IMAGE_SUFFIXES, Backdrop, read_image
from avatarbench.datasets.names import natural, sequence_names
from avatarbench.datasets.video import VIDEO_SUFFIXES, Video
from avatarbench.errors import DataError


@dataclass
class _Sequence:
    """``files`` are the frames in order, or the one video. ``notes`` grow as frames are read."""

    files: list[Path]
    video: Video | None = None
    notes: list[str] = field(default_factory=list)
    digest: str | None = None


class FolderDataset:
    """Every video and every subfolder of images inside ``root`` is a sequence.

    Images directly inside ``root`` are a sequence of one frame each (``loose="stills"``: portraits), or together one
    sequence named after the folder (``"frames"``: a clip). Frames are in natural order (``frame2`` before
    ``frame10``). ``root`` may also be a single image or video. Where there is one sequence, ``name`` names it. Hidden
    files are ignored, and links that lead out of the folder are not followed. Transparent images are composited on
    ``background``.
    """

    def __init__(
        self,
        root: Path | str,
        background: Backdrop = "white",
        name: str | None = None,
        loose: Literal["stills", "frames"] = "stills",
    ) -> None:
        self.root = Path(root).expanduser()
        self.background = background
        self.loose = loose
        self._outside: list[str] = []
        self._sequences = self._single(name) if self.root.is_file() else self._listing(name)
        self._open: _Sequence | None = None

    def sequences(self) -> Sequence[str]:
        """Names, sorted."""
        return sorted(self._sequences)

    def length(self, sequence: str) -> int:
        """Decodable frames of a video, or the number of images. Raises DataError for a broken video."""
        found = self._find(sequence)
        return len(found.files) if found.video is None else len(found.video)

    def frame_names(self, sequence: str) -> list[str]:
        """A name for each frame, in order: image files without their endings, a video's indices as ``000000``.

        Raises DataError for two files of one name (``7.png`` and ``7.jpg``).
        """
        found = self._find(sequence)
        if found.video is not None:
            return [f"{index:06d}" for index in range(len(found.video))]
        by_stem: dict[str, Path] = {}
        for file in found.files:
            other = by_stem.setdefault(file.stem, file)
            if other != file:
                raise DataError(
                    f"{other.name} and {file.name} in {file.parent} would both be frame '{file.stem}': rename one."
                )
        return list(by_stem)

    def read(self, sequence: str, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 sRGB. Raises DataError naming the file."""
        found = self._find(sequence)
        if found.video is not None:
            if self._open is not None and self._open is not found and self._open.video is not None:
                self._open.video.close()  # one decoder at a time, however many videos the folder holds
            self._open = found
            return found.video.read(index)
        if not 0 <= index < len(found.files):
            raise DataError(f"'{sequence}' of {self.root} has {len(found.files)} frames; frame {index} was asked for.")
        image, notes = read_image(found.files[index], self.background)
        found.notes.extend(n for n in notes if n not in found.notes)
        return image

    def digest(self, sequence: str) -> str:
        """sha256 of the file; for several frames, of their sha256 in order."""
        found = self._find(sequence)
        if found.digest is None:
            each = [_sha256(file) for file in found.files]
            found.digest = each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()
        return found.digest

    def notes(self, sequence: str) -> Sequence[str]:
        """The original name where the sequence's differs, and the conversions made by the reading so far."""
        found = self._find(sequence)
        return [*found.notes, *(found.video.notes if found.video is not None else ())]

    def close(self) -> None:
        """Close the video that is open."""
        if self._open is not None and self._open.video is not None:
            self._open.video.close()
        self._open = None

    def _find(self, sequence: str) -> _Sequence:
        try:
            return self._sequences[sequence]
        except KeyError:
            known = ", ".join(self.sequences()[:5])
            raise DataError(f"{self.root} has no sequence '{sequence}'; it has {known}.") from None

    def _single(self, name: str | None) -> dict[str, _Sequence]:
        if not _is_media(self.root):
            raise DataError(f"{self.root} is neither an image nor a video (looked for {_looked_for()}).")
        return _named([(self.root.name, _sequence([self.root]))], name)

    def _listing(self, name: str | None) -> dict[str, _Sequence]:
        if not self.root.exists():
            raise DataError(f"{self.root} does not exist: check the path.")
        folders: dict[Path, list[Path]] = {}
        found: list[tuple[str, _Sequence]] = []
        for entry in self._visible(self.root):
            if entry.is_dir():
                folders[entry] = [f for f in self._visible(entry) if _is_image(f)]
            elif self.loose == "frames" and _is_image(entry):
                folders.setdefault(self.root.resolve(), []).append(entry)
            elif _is_media(entry):
                found.append((entry.name, _sequence([entry])))
        for folder, frames in folders.items():
            if frames:
                # The dot keeps a folder's whole name where a file's loses its suffix.
                found.append((f"{folder.name}.", _sequence(sorted(frames, key=lambda f: natural(f.name)))))
        if not found:
            outside = (
                f" Links that lead out of it are not followed: {', '.join(self._outside)}." if self._outside else ""
            )
            raise DataError(f"{self.root} holds no images or videos (looked for {_looked_for()}).{outside}")
        return _named(found, name if len(found) == 1 else None)

    def _visible(self, folder: Path) -> Iterable[Path]:
        """What is in a folder, sorted, without hidden entries and links that lead out of the root."""
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise DataError(f"{folder} cannot be listed: {error.strerror}.") from error
        root = self.root.resolve()
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not entry.resolve().is_relative_to(root):
                self._outside.append(entry.name)
            else:
                yield entry


def _named(found: list[tuple[str, _Sequence]], name: str | None) -> dict[str, _Sequence]:
    names = sequence_names([file for file, _ in found])
    sequences = {}
    for file, sequence in found:
        original = file.rpartition(".")[0] or file
        chosen = name or names[file]
        if name is None and chosen != original:
            sequence.notes.append(f"named '{chosen}' for the file name '{file.removesuffix('.')}'")
        sequences[chosen] = sequence
    return sequences


def _sequence(files: list[Path]) -> _Sequence:
    is_video = files[0].suffix.lower() in VIDEO_SUFFIXES
    return _Sequence(files, Video(files[0]) if is_video else None)


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES


def _is_media(path: Path) -> bool:
    return _is_image(path) or (path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES)


def _looked_for() -> str:
    return " ".join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
