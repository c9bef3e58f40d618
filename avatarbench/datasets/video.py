"""Video frames by index, exactly: in whatever order they are asked for, they are those of decoding from the start."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from avatarbench.datasets.video_scan import UNTAGGED, Scan, check, scan
from avatarbench.errors import DataError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv")

# Bit-exact rounding: the same file gives the same pixels on every processor.
_SWSCALE = int(
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)


class Video:
    """The first video stream of one file, decoded on demand. Not for use by two threads at once.

    The first use decodes the file once without colour conversion, to count the frames that are really there and to
    notice damage; a few numbers a frame are kept, no pixels. Frames become RGB through swscale with the matrix and
    range that the file tags; untagged: BT.709 from 720 lines on, BT.601 below. Rotation metadata is applied, by
    quarter turns.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            missing = "is not a file" if self.path.exists() else "does not exist"
            raise DataError(f"{self.path} {missing}: name a video file.")
        self._scan: Scan | None = None
        self._container: InputContainer | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._next = 0

    def __len__(self) -> int:
        """Frames that can really be decoded. Raises DataError for a damaged file, and for one without video frames."""
        return len(self._scanned().times)

    @property
    def notes(self) -> tuple[str, ...]:
        """What reading assumes or converts: an untagged colour matrix, a rotation, more than 8 bits."""
        return self._scanned().notes

    @property
    def held(self) -> int:
        """About how many bytes its open decoder holds: 20 frames of 1.5 bytes a pixel; 0 before the first use."""
        return 0 if self._scan is None else 30 * self._scan.pixels

    def read(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 sRGB. Reading forward costs one decoded frame; going back seeks to the keyframe before.

        Raises DataError for an index outside the video, and for a file that changed since its first use.
        """
        count = len(self)
        if not 0 <= index < count:
            raise DataError(f"{self.path} has the frames 0 to {count - 1}; frame {index} was asked for.")
        if self._container is not None and self._keyframe(index) <= self._next <= index:
            frame = self._advance(index)
        else:
            frame = self._seek(index)
        if frame is None:  # a stream whose keyframes are not clean starts: decode all that comes before
            self._restart()
            frame = self._advance(index)
        if frame is None:
            raise DataError(
                f"{self.path} no longer decodes as it first did at frame {index}: was it changed meanwhile?"
            )
        return _to_rgb(frame)

    def close(self) -> None:
        """Give back the decoder and the file. Reading again opens them again, without another scan."""
        if self._container is not None:
            self._container.close()
        self._container, self._frames, self._next = None, iter(()), 0

    def _scanned(self) -> Scan:
        if self._scan is None:
            with self._open() as container:
                self._scan = scan(container, self.path)
        return self._scan

    def _open(self) -> InputContainer:
        try:
            return av.open(str(self.path), "r")
        except (av.FFmpegError, OSError) as error:
            why = error.strerror or str(error)
            raise DataError(
                f"{self.path} is not a video that can be read (0 frames; {why}): copy or export it again."
            ) from error

    def _keyframe(self, index: int) -> int:
        """The keyframe at or before ``index``, or 0."""
        keys = self._scanned().keys
        at = bisect.bisect_right(keys, index)
        return keys[at - 1] if at else 0

    def _restart(self) -> None:
        self.close()
        self._container = self._open()
        self._frames = self._container.decode(self._container.streams.video[0])

    def _advance(self, index: int) -> VideoFrame | None:
        """Decode on until ``index``. None where what comes is not the frame that the scan saw there."""
        frame = None
        try:
            while self._next <= index:
                frame = next(self._frames)
                self._next += 1
        except (StopIteration, av.FFmpegError):
            return None
        return frame if frame is not None and check(frame) == self._scanned().checks[index] else None

    def _seek(self, index: int) -> VideoFrame | None:
        """Jump to the keyframe before ``index`` and decode on. None where that does not give the frame of the scan."""
        found, key = self._scanned(), self._keyframe(index)
        if key == 0 or not found.seekable:
            return None
        if self._container is None:
            self._restart()
        wanted, start = found.times[index], found.times[key]
        if self._container is None or wanted is None or start is None:
            return None
        try:
            stream = self._container.streams.video[0]
            self._container.seek(start, stream=stream)  # which empties the decoder too
            self._frames = self._container.decode(stream)
            # Frames from before the keyframe may come first, incomplete; their times tell them apart.
            frame = next(f for f in self._frames if f.pts is not None and f.pts >= wanted)
        except (StopIteration, av.FFmpegError):
            return None
        self._next = index + 1
        return frame if frame.pts == wanted and check(frame) == found.checks[index] else None


def _to_rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    matrix: int | str = frame.colorspace
    if matrix == UNTAGGED:
        matrix = "itu709" if frame.height >= 720 else "itu601"
    rgb = frame.reformat(format="rgb24", src_colorspace=matrix, interpolation=_SWSCALE, threads=1).to_ndarray()
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(rgb, turns)).astype(np.uint8, copy=False)
