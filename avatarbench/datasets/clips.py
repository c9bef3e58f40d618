"""Clips of talking heads, one camera each: folders of numbered frames, or videos. VFHQ and HDTF are such."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarbench.datasets.images import read_image
from avatarbench.datasets.video import Video
from avatarbench.errors import DataError

RENAMED = "named after its folder or file, with _ for what is not safe in a name"
"""One sentence for all: with the names in it, fifty clips would put fifty notes below a table."""


@dataclass(frozen=True)
class Clip:
    """``path``: the folder or the video; ``files``: the frames in order, or that video; ``numbers``: the frames' own,
    none for a video; ``identity``: who is seen."""

    path: Path
    identity: str
    files: tuple[Path, ...]
    numbers: tuple[int, ...] = ()

    @property
    def is_video(self) -> bool:
        return not self.numbers


class ClipDataset:
    """Clips by sequence name, read lazily, in the size that they have. One decoder is open at a time."""

    def __init__(self, root: Path, clips: Mapping[str, Clip], passed_over: Sequence[str] = ()) -> None:
        self.root = root
        self.clips = dict(sorted(clips.items()))
        self.passed_over = tuple(passed_over)
        self._videos: dict[str, Video] = {}
        self._open = ""
        self._digests: dict[str, str] = {}
        self._notes: dict[str, list[str]] = {}

    @property
    def home(self) -> Path:
        """The folder of the clips: the root, or one below it."""
        return next(iter(self.clips.values())).path.parent

    def sequences(self) -> Sequence[str]:
        """Names, sorted."""
        return list(self.clips)

    def identity(self, sequence: str) -> str:
        """Who is seen, as far as the clip's name says."""
        return self._find(sequence).identity

    def length(self, sequence: str) -> int:
        """Frames that are there; of a video, those that can be decoded. Raises DataError for a damaged video."""
        clip = self._find(sequence)
        return len(self._video(sequence)) if clip.is_video else len(clip.files)

    def frame_number(self, sequence: str, index: int) -> int:
        """The number in the frame's name, or its index in the video."""
        clip = self._find(sequence)
        self._check(sequence, index)
        return index if clip.is_video else clip.numbers[index]

    def read(self, sequence: str, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 sRGB. Raises DataError naming the file."""
        clip = self._find(sequence)
        self._check(sequence, index)
        if clip.is_video:
            if self._open and self._open != sequence:
                self._videos[self._open].close()
            self._open = sequence
            return self._video(sequence).read(index)
        image, notes = read_image(clip.files[index])
        kept = self._notes.setdefault(sequence, [])
        kept.extend(n for n in notes if n not in kept)
        return image

    def digest(self, sequence: str) -> str:
        """sha256 of the video; of frames, over the name and sha256 of each."""
        if sequence not in self._digests:
            clip = self._find(sequence)
            each = [_sha256(file) for file in clip.files]
            named = "\n".join(f"{file.name} {digest}" for file, digest in zip(clip.files, each, strict=True))
            self._digests[sequence] = each[0] if clip.is_video else hashlib.sha256(named.encode()).hexdigest()
        return self._digests[sequence]

    def notes(self, sequence: str) -> Sequence[str]:
        """Whether the clip's own name is another than the sequence's, gaps in the numbers, conversions made so far."""
        clip = self._find(sequence)
        own = clip.path.stem if clip.is_video else clip.path.name
        notes = [] if own == sequence else [RENAMED]
        if clip.numbers and (lost := clip.numbers[-1] - clip.numbers[0] + 1 - len(clip.numbers)):
            notes.append(f"{lost} frame{'s' * (lost != 1)} missing between {clip.numbers[0]} and {clip.numbers[-1]}")
        video = self._videos.get(sequence)
        return [*notes, *self._notes.get(sequence, ()), *(video.notes if video is not None else ())]

    def close(self) -> None:
        """Close the video that is open."""
        if self._open:
            self._videos[self._open].close()
        self._open = ""

    def _find(self, sequence: str) -> Clip:
        try:
            return self.clips[sequence]
        except KeyError:
            known = ", ".join(list(self.clips)[:5])
            passed = f" Passed over: {'; '.join(self.passed_over[:5])}." if self.passed_over else ""
            raise DataError(f"{self.root} has no sequence '{sequence}'; it has {known}.{passed}") from None

    def _check(self, sequence: str, index: int) -> None:
        count = self.length(sequence)
        if not 0 <= index < count:
            raise DataError(f"'{sequence}' of {self.root} has {count} frames; frame {index} was asked for.")

    def _video(self, sequence: str) -> Video:
        if sequence not in self._videos:
            self._videos[sequence] = Video(self._find(sequence).path)
        return self._videos[sequence]


def visible(folder: Path, root: Path) -> tuple[list[Path], list[str]]:
    """What is in a folder, sorted, without hidden entries and links that lead out of ``root``, which are named too.

    Raises DataError where it cannot be listed.
    """
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}.") from error
    inside = root.resolve()
    kept = [e for e in entries if not e.is_symlink() or e.resolve().is_relative_to(inside)]
    return kept, [f"{e.name} is a link that leads out of the folder" for e in entries if e not in kept]


def existing(root: Path | str, what: str) -> Path:
    """``root`` as a folder. Raises DataError for anything else; ``what``: whose folder it should be."""
    found = Path(root).expanduser()
    if not found.is_dir():
        raise DataError(f"{found} {'is not a folder' if found.exists() else 'does not exist'}: name {what}.")
    return found


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
