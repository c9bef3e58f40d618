"""Check of a NeRSemble folder: a subject a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from avatarbench.datasets.check import Context, Subject, contents
from avatarbench.datasets.clips import existing
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.datasets.nersemble_layout import BACKGROUND, IDENTITY, Recording, scan
from avatarbench.errors import DataError


class Nersemble:
    """A person is whole with a calibration of every camera, and every camera that saw a recording of anybody else."""

    def __init__(self, root: Path) -> None:
        self._layout = scan(existing(root, "a NeRSemble folder"))
        self.root = self.home = self._layout.root
        self._data = NersembleDataset(root)

    def subjects(self) -> list[Subject]:
        people = sorted(p for p in self.root.iterdir() if IDENTITY.fullmatch(p.name) and p.is_dir())
        return [Subject(p.name, list(contents(p, self.root))) for p in people if self._layout.contained(p)]

    def judge(self, subject: Subject, context: Context) -> None:
        takes = {take: found for (person, take), found in self._layout.takes.items() if person == subject.name}
        home = self.root / subject.name
        media = [f for f in subject.files if context.entries[f].found.frames or context.entries[f].found.problem]
        context.faults(subject, media, home)
        recordings = [r for found in takes.values() for r in found]
        subject.present = f"{len(takes)} recordings, {len(recordings)} views"
        if not recordings:
            subject.missing.append("every recording")
            return
        if context.recording and context.recording not in takes and not context.generated:
            subject.missing.append(f"{context.recording}, which the protocols draw from")
        for take, found in sorted(takes.items()):
            self._judge_take(subject, context, take, found)
        self._judge_cameras(subject, [r for r in recordings if not context.entries[r.files[0]].found.problem])
        if not any(self._has_masks(r) for r in recordings):
            subject.notes.append("neither masks nor pictures of the empty stage: backgrounds can only be kept")
        subject.notes += [text for text in self._layout.skipped(subject.name) if "is missing" not in text]

    def absent(self, subjects: Sequence[Subject]) -> list[str]:
        """Nothing: which people were asked for, a folder does not say."""
        return []

    def _judge_take(self, subject: Subject, context: Context, take: str, found: list[Recording]) -> None:
        lacking = self._layout.cameras[take] - {r.camera for r in found}
        if lacking and all(r.is_video for r in found):  # numbered frames are sparse by design
            subject.missing.append(f"{take}: camera {', '.join(sorted(lacking))}")
        lengths = {
            r.camera: context.entries[r.files[0]].found.frames if r.is_video else len(r.files)
            for r in found
            if not r.is_video or not context.entries[r.files[0]].found.problem
        }
        if not lengths:
            return
        if all(r.is_video for r in found) and min(lengths.values()) < max(lengths.values()):
            fewest = min(lengths, key=lambda camera: lengths[camera])
            subject.notes.append(
                f"{take}: cameras have {lengths[fewest]} ({fewest}) to {max(lengths.values())} frames; the common ones "
                "are read"
            )
        if take == context.recording:
            context.short(subject, f"{take}: ", min(lengths.values()))

    def _judge_cameras(self, subject: Subject, recordings: Sequence[Recording]) -> None:
        """Cameras share one file: what is wrong with it is said once."""
        seen: dict[str, list[str]] = {}
        for recording in {r.camera: r for r in recordings}.values():
            try:
                camera = self._data.camera(recording.name)
            except DataError as error:
                seen.setdefault(str(error), []).append(recording.camera)
                continue
            if camera is None:
                subject.missing.append("calibration/camera_params.json: no camera is known")
                return
        subject.broken += [text if len(who) == 1 else f"{text} ({len(who)} cameras)" for text, who in seen.items()]

    def _has_masks(self, recording: Recording) -> bool:
        here = self.root / recording.identity / "sequences"
        places = (here / recording.sequence / "masks", here / recording.sequence / "alpha_maps", here / BACKGROUND)
        return any(p.is_dir() for p in places) or any(p.is_file() for p in recording.alpha)
