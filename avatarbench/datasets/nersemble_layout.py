"""Where things lie in a NeRSemble folder: v2, OpenHeads' included, v1, and the benchmark's monocular download.

v2: ``NNN/sequences/SEQ/images/cam_SERIAL.mp4``, ``NNN/calibration/camera_params.json``. The benchmark's is the same
below ``mono_flame_avatar/``, with ``alpha_maps`` and ``tracking`` beside ``images``. v1: a folder a time step,
``NNN/sequences/SEQ/frame_00000/images-2x-73fps/cam_SERIAL.png`` with ``alpha_map-73fps`` beside it, and
``NNN/camera_params.json``. Links that lead out of the folder are not followed. Sources: github.com/tobias-kirschstein's
nersemble-data, nersemble-benchmark (0.2.0) and nersemble (multi_view_data.py); v1 and the benchmark's files were not at
hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from avatarbench.errors import DataError

IDENTITY = re.compile(r"\d{3,}")
FRAME = re.compile(r"frame_(\d+)\.(webp|png)")
VIDEO = re.compile(r"cam_(\w+)\.mp4")
FRAMES = re.compile(r"cam_(\w+)")
STEP = re.compile(r"frame_(\d+)")
STILL = re.compile(r"cam_(\w+)\.png")
BACKGROUND = "BACKGROUND"
BENCHMARK = "mono_flame_avatar"
"""The benchmark's task that has portraits in the protocols' size; its other tasks are not read."""
LOOKED_FOR = "NNN/sequences/NAME/images/cam_SERIAL.mp4, or frames cam_SERIAL/frame_00000.webp"


@dataclass(frozen=True)
class Recording:
    """One camera's view of one sequence: one video, or numbered frames whose ``numbers`` are time steps.

    ``alpha``: v1's foreground files, one a frame, there or not.
    """

    identity: str
    sequence: str
    camera: str
    folder: Path  # of the identity
    files: tuple[Path, ...]
    numbers: tuple[int, ...] = ()
    alpha: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.identity}_{self.sequence}_{self.camera}"

    @property
    def is_video(self) -> bool:
        return not self.numbers


@dataclass
class Layout:
    """What a folder holds: recordings by name, and what looks like one and was passed over, with the reason."""

    root: Path
    recordings: dict[str, Recording] = field(default_factory=dict)
    passed_over: list[tuple[Path, str]] = field(default_factory=list)

    @cached_property
    def takes(self) -> dict[tuple[str, str], list[Recording]]:
        """By identity and sequence, what every camera saw."""
        found: dict[tuple[str, str], list[Recording]] = {}
        for recording in self.recordings.values():
            found.setdefault((recording.identity, recording.sequence), []).append(recording)
        return found

    @cached_property
    def cameras(self) -> dict[str, set[str]]:
        """By sequence, the cameras that saw it of anybody."""
        found: dict[str, set[str]] = {}
        for (_, sequence), seen in self.takes.items():
            found.setdefault(sequence, set()).update(r.camera for r in seen)
        return found

    def skip(self, path: Path, why: str) -> None:
        self.passed_over.append((path.relative_to(self.root), why))

    def skipped(self, identity: str | None = None) -> list[str]:
        """Sentences on what was passed over, of one person or of all."""
        return [f"{path} {why}" for path, why in self.passed_over if identity in (None, path.parts[0])]

    def contained(self, path: Path) -> Path | None:
        """``path`` where it is a file or a folder inside the root, whatever links lead to it; None otherwise."""
        return path if path.exists() and _inside(path, self.root) else None


def scan(root: Path) -> Layout:
    """List a folder. Raises DataError, saying what was looked for, where it holds no recording."""
    if not root.is_dir():
        raise DataError(f"{root} {'is not a folder' if root.exists() else 'does not exist'}: name a NeRSemble folder.")
    layout = Layout(_below(root))
    for person in _entries(layout, layout.root):
        if IDENTITY.fullmatch(person.name):
            for recording in _of_person(layout, person):
                known = layout.recordings.setdefault(recording.name, recording)
                if known is not recording:
                    layout.skip(recording.files[0].parent, "stands beside a video of that camera")
    if not layout.recordings:
        inside = (
            " It looks like one person's folder: name the folder above it." if (root / "sequences").is_dir() else ""
        )
        why = f" Passed over: {'; '.join(layout.skipped()[:5])}." if layout.passed_over else ""
        raise DataError(f"{root} is no NeRSemble or OpenHeads folder (looked for {LOOKED_FOR}).{inside}{why}")
    return layout


def _below(root: Path) -> Path:
    """The folder of people: the benchmark's lies in the one that was downloaded to."""
    within = root / BENCHMARK
    if not within.is_dir() or not _inside(within, root):
        return root
    return root if any(IDENTITY.fullmatch(e.name) for e in _entries(Layout(root), root)) else within


def _of_person(layout: Layout, person: Path) -> Iterator[Recording]:
    if not person.is_dir():
        layout.skip(person, "is not a folder")
        return
    for sequence in _entries(layout, person / "sequences"):
        if sequence.name == BACKGROUND or not sequence.is_dir():
            continue
        if not (sequence / "images").is_dir():
            steps = [e for e in _entries(layout, sequence) if STEP.fullmatch(e.name) and e.is_dir()]
            if steps:
                yield from _of_steps(layout, person, sequence.name, steps)
                continue
        # Videos come before folders of the same camera: "cam_1.mp4" is looked at first.
        for entry in sorted(_entries(layout, sequence / "images"), key=lambda e: (e.is_dir(), e.name)):
            found = _recording(layout, person, sequence.name, entry)
            if found is not None:
                yield found


def _of_steps(layout: Layout, person: Path, sequence: str, steps: list[Path]) -> Iterator[Recording]:
    """v1: pictures by time step and camera."""
    seen: dict[str, dict[int, Path]] = {}
    for step in steps:
        folders = [e for e in _entries(layout, step) if e.name.startswith("images") and e.is_dir()]
        for unused in folders[1:]:
            layout.skip(unused, f"stands beside {folders[0].name}")
        for file in _entries(layout, folders[0]) if folders else []:
            if (match := STILL.fullmatch(file.name)) and file.is_file():
                seen.setdefault(match[1], {})[int(step.name.removeprefix("frame_"))] = file
    for camera, pictures in sorted(seen.items()):
        numbers = tuple(sorted(pictures))
        files = tuple(pictures[n] for n in numbers)
        alpha = tuple(f.parents[1] / re.sub(r"^images(-\dx)?", "alpha_map", f.parent.name) / f.name for f in files)
        yield Recording(person.name, sequence, camera, person, files, numbers, alpha)
    if not seen:
        layout.skip(person / "sequences" / sequence, "has time steps without pictures")


def _recording(layout: Layout, person: Path, sequence: str, entry: Path) -> Recording | None:
    if video := VIDEO.fullmatch(entry.name):
        if entry.is_file():
            return Recording(person.name, sequence, video[1], person, (entry,))
    elif (frames := FRAMES.fullmatch(entry.name)) and entry.is_dir():
        numbered: dict[int, Path] = {}
        for file in _entries(layout, entry):
            if (match := FRAME.fullmatch(file.name)) and file.is_file():
                numbered.setdefault(int(match[1]), file)
        if numbered:
            numbers = tuple(sorted(numbered))
            return Recording(person.name, sequence, frames[1], person, tuple(numbered[n] for n in numbers), numbers)
        layout.skip(entry, "holds no frames")
    return None


def _entries(layout: Layout, folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing where there is none. Raises DataError where it cannot be listed."""
    if not folder.is_dir():
        layout.skip(folder, "is missing")
        return []
    try:
        entries = sorted(e for e in folder.iterdir() if not e.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}.") from error
    kept = []
    for entry in entries:
        if entry.is_symlink() and layout.contained(entry) is None:
            layout.skip(entry, "is a link that leads out of the folder")
        else:
            kept.append(entry)
    return kept


def _inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())
