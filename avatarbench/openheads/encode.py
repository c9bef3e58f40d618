"""Lossless video: every frame decodes to exactly what went in."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import cast

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from avatarbench.errors import DataError

CODEC = "libx264rgb"
"""H.264 in RGB: no colour conversion, so nothing is rounded; FFmpeg, PyAV and OpenCV decode it."""

_OPTIONS = {"crf": "0", "preset": "medium", "g": "25"}
"""A keyframe a second, so that a reader can jump."""


class Encoder:
    """Writes an MP4 file of (H, W, 3) or (H, W, 1) uint8 frames, grey ones as RGB. A context manager.

    Raises DataError where PyAV has no H.264 encoder, and OSError where the file cannot be written.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self._rate = Fraction(fps).limit_denominator(1001)
        self._container: OutputContainer = av.open(str(path), "w", format="mp4")
        self._stream: VideoStream | None = None

    def __enter__(self) -> Encoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._stream is not None:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame; all have the first one's size."""
        if frame.shape[-1] == 1:
            frame = np.repeat(frame, 3, axis=-1)
        if self._stream is None:
            self._stream = self._start(frame.shape[1], frame.shape[0])
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        self._container.mux(self._stream.encode(picture))

    def _start(self, width: int, height: int) -> VideoStream:
        try:
            stream = cast(VideoStream, self._container.add_stream(CODEC, rate=self._rate, options=_OPTIONS))
        except (av.FFmpegError, ValueError) as error:
            raise DataError(
                f"PyAV {av.__version__} has no encoder '{CODEC}': install a build of av with x264, as its wheels have."
            ) from error
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        stream.codec_context.thread_count = 1  # x264's output depends on it
        return stream
