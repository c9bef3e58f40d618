"""HDTF: videos of talking heads, cut from YouTube by the lists of github.com/MRzzm/HDTF, ``<video>_<clip>.mp4``."""

from __future__ import annotations

import re
from pathlib import Path

from avatarbench.datasets.clips import Clip, ClipDataset, existing, visible
from avatarbench.datasets.names import sequence_names
from avatarbench.errors import DataError

SUFFIXES = (".mp4",)
CLIP_INDEX = re.compile(r"_\d+$")


class HdtfDataset(ClipDataset):
    """The videos of a folder, or of the folder ``clips`` or ``videos`` in it, each a sequence named by its stem.

    They keep their own size, frame rate and orientation; turned ones are read upright. Clips of one video, ``X_0`` and
    ``X_1``, are one identity; one person's several videos are several: the lists do not say who speaks. Raises
    DataError where there are no videos.
    """

    def __init__(self, root: Path | str) -> None:
        given = existing(root, "the folder that holds HDTF's videos")
        files, passed_over = find_videos(given)
        names = sequence_names([file.name for file in files])
        clips = {names[file.name]: Clip(file, CLIP_INDEX.sub("", file.stem), (file,)) for file in files}
        if not clips:
            why = f" Passed over: {'; '.join(passed_over[:5])}." if passed_over else ""
            raise DataError(f"{given} holds no videos (looked for NAME.mp4).{why}")
        super().__init__(given, clips, passed_over)


def find_videos(root: Path) -> tuple[list[Path], list[str]]:
    """Videos, sorted by name, and what was passed over."""
    passed_over: list[str] = []
    for folder in (root, root / "clips", root / "videos"):
        if not folder.is_dir() or not folder.resolve().is_relative_to(root.resolve()):
            continue
        entries, outside = visible(folder, root)
        passed_over += outside
        if found := [e for e in entries if e.suffix.lower() in SUFFIXES and e.is_file()]:
            return found, passed_over
    return [], passed_over
