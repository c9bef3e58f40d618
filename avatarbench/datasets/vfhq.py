"""VFHQ-Test: a folder a clip, ``Clip+<video>+P<person>+C<clip>+F<first>-<last>``, of frames ``00000000.png`` and on.

Source: liangbinxie.github.io/projects/vfhq. Its archive holds the clips some folders down, once for each degradation.
"""

from __future__ import annotations

import re
from pathlib import Path

from avatarbench.datasets.clips import Clip, ClipDataset, existing, visible
from avatarbench.datasets.names import sequence_names
from avatarbench.errors import DataError

CLIP = re.compile(r"Clip\+(?P<video>.+)\+P(?P<person>\d+)\+C(?P<clip>\d+)\+F(?P<first>\d+)-(?P<last>\d+)")
FRAME = re.compile(r"(\d+)\.(?:png|jpg|jpeg)", re.IGNORECASE)
CLIPS = 50
"""Clips of VFHQ-Test."""
DEPTH = 3
"""Folders down that clips are looked for: the archive's ``GT/Interval1_512x512_LANCZOS4/Clip+...`` has two above."""


class VfhqDataset(ClipDataset):
    """The clips below ``root``, each a sequence named after its folder; person ``P#`` of one video is one identity.

    Clips of one name that lie in several folders (ground truth, degraded) are refused: the folder is to be named.
    Raises DataError where there are no clips.
    """

    def __init__(self, root: Path | str) -> None:
        given = existing(root, "the folder that holds VFHQ's clips")
        folders, passed_over = find_clips(given)
        names = sequence_names([f"{folder.name}." for folder in folders])  # the dot keeps names that hold one whole
        clips = {}
        for folder in folders:
            clip = read_clip(folder, given, passed_over)
            if clip is not None:
                clips[names[f"{folder.name}."]] = clip
        if not clips:
            why = f" Passed over: {'; '.join(passed_over[:5])}." if passed_over else ""
            raise DataError(f"{given} holds no clips (looked for Clip+ID+P0+C0+F0-99/00000000.png).{why}")
        super().__init__(given, clips, passed_over)


def find_clips(root: Path) -> tuple[list[Path], list[str]]:
    """Folders of clips, sorted by name, and what was passed over. Raises DataError where they lie in two places."""
    passed_over: list[str] = []
    level, homes = [root], {}
    for _ in range(DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            entries, outside = visible(folder, root)
            passed_over += outside
            folders = [e for e in entries if e.is_dir()]
            if clips := [e for e in folders if CLIP.fullmatch(e.name)]:
                homes[folder] = clips
            below += [e for e in folders if not CLIP.fullmatch(e.name)]
        level = below
    if CLIP.fullmatch(root.resolve().name):
        raise DataError(f"{root} is one clip: name the folder above it, which holds them all.")
    if len(homes) > 1:
        where = ", ".join(str(home.relative_to(root)) for home in homes)
        raise DataError(f"{root} holds clips in {len(homes)} folders ({where}): name the one that is meant.")
    return next(iter(homes.values()), []), passed_over


def read_clip(folder: Path, root: Path, passed_over: list[str]) -> Clip | None:
    """A clip's frames by number; None, with the reason in ``passed_over``, for a folder without frames."""
    entries, outside = visible(folder, root)
    passed_over += [f"{folder.name}/{text}" for text in outside]
    numbered: dict[int, Path] = {}
    for entry in entries:
        if (match := FRAME.fullmatch(entry.name)) and entry.is_file():
            if int(match[1]) in numbered:
                passed_over.append(f"{folder.name}/{entry.name} has the number of {numbered[int(match[1])].name}")
            numbered.setdefault(int(match[1]), entry)
    named = CLIP.fullmatch(folder.name)
    if not numbered or named is None:
        passed_over.append(f"{folder.name} holds no frames")
        return None
    numbers = tuple(sorted(numbered))
    return Clip(folder, f"{named['video']}+P{named['person']}", tuple(numbered[n] for n in numbers), numbers)
