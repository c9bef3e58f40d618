"""Checks of VFHQ's clips and of HDTF's videos: a subject each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avatarbench.datasets.check import PARTIAL, Context, Subject, contents
from avatarbench.datasets.clips import existing
from avatarbench.datasets.hdtf import find_videos
from avatarbench.datasets.vfhq import CLIP, CLIPS, FRAME, find_clips
from avatarbench.errors import DataError


class Vfhq:
    """A clip is whole where the frames have the numbers that its name says, or at least no gaps."""

    def __init__(self, root: Path) -> None:
        self.root = existing(root, "the folder that holds VFHQ's clips")
        self._folders, self._passed = find_clips(self.root)
        if not self._folders:
            raise DataError(f"{root} holds no clips (looked for Clip+ID+P0+C0+F0-99/00000000.png).")
        self.home = self._folders[0].parent

    def subjects(self) -> list[Subject]:
        return [Subject(folder.name, list(contents(folder, self.root))) for folder in self._folders]

    def judge(self, subject: Subject, context: Context) -> None:
        frames = {int(m[1]): f for f in subject.files if (m := FRAME.fullmatch(f.name))}
        named = CLIP.fullmatch(subject.name)
        home = next(folder for folder in self._folders if folder.name == subject.name)
        well = context.faults(subject, frames.values(), home)
        subject.present = f"{well} frames"
        if not frames or named is None:
            subject.missing.append("every frame")
            return
        gaps = max(frames) - min(frames) + 1 - len(frames)
        if gaps:
            subject.missing.append(f"{gaps} of the frames {min(frames)} to {max(frames)}")
        announced = int(named["last"]) - int(named["first"])
        if len(frames) + gaps < announced:  # whether the last number is part of a clip differs from copy to copy
            subject.missing.append(
                f"frames at an end: the name says {announced}, and {len(frames) + gaps} are numbered"
            )
        context.short(subject, "", well)

    def absent(self, subjects: Sequence[Subject]) -> list[str]:
        lacking = CLIPS - len(subjects)
        return [f"{lacking} of VFHQ-Test's {CLIPS} clips are not there", *self._passed] if lacking > 0 else []


class Hdtf:
    """A video is whole where the container is, at a constant rate."""

    def __init__(self, root: Path) -> None:
        self.root = existing(root, "the folder that holds HDTF's videos")
        self._videos, self._passed = find_videos(self.root)
        places = {video.parent for video in self._videos} or {self.root}
        self._unfinished = [
            e for place in places for e in sorted(place.iterdir()) if e.name.lower().endswith(PARTIAL) and e.is_file()
        ]
        if not self._videos and not self._unfinished:
            raise DataError(f"{root} holds no videos (looked for NAME.mp4).")
        self.home = next(iter((*self._videos, *self._unfinished))).parent

    def subjects(self) -> list[Subject]:
        return [Subject(video.name, [video]) for video in sorted([*self._videos, *self._unfinished])]

    def judge(self, subject: Subject, context: Context) -> None:
        (video,) = subject.files
        if video in self._unfinished:
            return
        well = context.faults(subject, [video], video.parent)
        found = context.entries[video].found
        subject.present = f"{found.frames} frames" if well else ""
        if well:
            context.short(subject, "", found.frames)

    def absent(self, subjects: Sequence[Subject]) -> list[str]:
        return list(self._passed)
