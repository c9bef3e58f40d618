"""``avatarbench track`` without the command line: a file or folder in, a folder of results out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarbench.datasets.folder import FolderDataset
from avatarbench.datasets.images import write_png
from avatarbench.datasets.video import VIDEO_SUFFIXES
from avatarbench.errors import DataError, UsageError
from avatarbench.metrics.rotations import euler_degrees, nearest_rotation
from avatarbench.tracking.anny_file import AnnyTrack, fit_track
from avatarbench.tracking.landmarks import track_frames
from avatarbench.tracking.overlay import draw, write_video
from avatarbench.tracking.track_file import Track

Progress = Callable[[str, int, int], None]
"""Told of a stage, the frames done, and the frames there are."""

STILLS_FPS = 25.0
_DERIVED = ("anny.npz", "overlay.png", "overlay.mp4")
"""What stands beside ``track.npz`` and is true of it alone."""


@dataclass(frozen=True)
class Tracked:
    """What :func:`track_media` made. ``files``: in the order of writing."""

    track: Track
    anny: AnnyTrack | None
    files: tuple[Path, ...]
    notes: tuple[str, ...]

    def summary(self) -> list[str]:
        """Frames found, pose range, reprojection error, and what to know: one line each."""
        total, found = len(self.track), int(self.track.found.sum())
        lines = [f"face found in {found} of {total} frame{'s' * (total != 1)}"]
        several = int((self.track.faces > 1).sum())
        if several:
            lines.append(f"several faces in {several} frame{'s' * (several != 1)}: the largest was tracked")
        if found:
            heads = self.track.head[self.track.found, :3, :3]
            angles = np.array([euler_degrees(nearest_rotation(head)) for head in heads])
            ranges = zip(("pitch", "yaw", "roll"), angles.min(axis=0), angles.max(axis=0), strict=True)
            if found == 1:
                lines.append("head: " + ", ".join(f"{name} {low:.1f}" for name, low, _ in ranges) + " degrees")
            else:
                spans = ", ".join(f"{name} {low:.1f} to {high:.1f}" for name, low, high in ranges)
                lines.append(f"head: {spans} degrees")
        if self.anny is not None:
            pixels, percent = (np.nanmean(v) for v in (self.anny.rms_pixels, self.anny.rms_percent))
            identity = f", identity from frame {self.anny.portrait}" if total > 1 else ""
            lines.append(
                f"Anny fit: reprojection error {pixels:.2f} px RMS, {percent:.1f} % of the eye distance{identity}"
            )
        return [*lines, *self.notes]


def track_media(
    source: Path, out: Path, fit: bool = True, overlay: bool = True, progress: Progress | None = None
) -> Tracked:
    """Track an image, a video or a folder of frames into ``out``: track.npz, anny.npz, overlay.png or overlay.mp4.

    Each file is there whole or not at all. A frame without a face is NaN with a reason in ``track.npz``, which is
    written even where no frame has one; there is nothing to fit then. What an older run left under these names goes
    first, so that the folder never holds the results of two sources. Raises DataError for what cannot be read,
    UsageError for a folder of several sequences, OSError where ``out`` cannot be written.
    """
    data = FolderDataset(source, loose="frames")
    name = only_sequence(data)
    told = progress or (lambda stage, done, total: None)
    try:
        count = data.length(name)
        out.mkdir(parents=True, exist_ok=True)
        track = track_frames(_frames(data, name), frame_rate(source), on_frame=lambda n: told("landmarks", n, count))
        for older in _DERIVED:
            (out / older).unlink(missing_ok=True)
        files = [out / "track.npz"]
        track.save(files[0])
        anny = None
        if fit and track.found.any():
            anny = fit_track(track, lambda n: told("fit", n, count))
            files.append(out / "anny.npz")
            anny.save(files[-1])
        if overlay:
            pictures = _pictures(data, name, track, anny)
            files.append(out / ("overlay.png" if count == 1 else "overlay.mp4"))
            if count == 1:
                write_png(files[-1], next(pictures))
            else:
                write_video(files[-1], pictures, track.fps or STILLS_FPS, lambda n: told("overlay", n, count))
        return Tracked(track, anny, tuple(files), tuple(data.notes(name)))
    finally:
        data.close()


def only_sequence(data: FolderDataset) -> str:
    """The one sequence of a file or folder. Raises UsageError where there are several."""
    names = list(data.sequences())
    if len(names) > 1:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise UsageError(f"{data.root} holds {len(names)} sequences ({shown}): name one file or one folder of frames.")
    return names[0]


def _frames(data: FolderDataset, name: str) -> Iterator[NDArray[np.uint8]]:
    for index in range(data.length(name)):
        yield data.read(name, index)


def frame_rate(source: Path) -> float:
    """The video's average frame rate, 0 for stills."""
    import av

    if not source.is_file() or source.suffix.lower() not in VIDEO_SUFFIXES:
        return 0.0
    try:
        with av.open(str(source)) as container:
            rate = container.streams.video[0].average_rate
    except av.FFmpegError as error:
        raise DataError(f"{source} cannot be opened again: was it changed meanwhile?") from error
    return float(rate) if rate else 0.0


def _pictures(data: FolderDataset, name: str, track: Track, anny: AnnyTrack | None) -> Iterator[NDArray[np.uint8]]:
    for index, image in enumerate(_frames(data, name)):
        fit = anny.fits[index] if anny is not None else None
        label = f"frame {index}: " if len(track) > 1 else ""
        if not track.found[index]:
            label += track.reasons[index]
        elif fit is not None:
            label += f"error {fit.rms_pixels:.2f} px RMS ({fit.rms_percent:.1f} %)"
        else:
            label += "landmarks"
        yield draw(image, track.face(index), fit, label)
