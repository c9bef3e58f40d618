"""One pass over a video that finds out what is really in it: frames, keyframes, damage. Metadata is not believed."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from avatarbench.errors import DataError

UNTAGGED = 2
"""An unspecified colour matrix, in ITU-T H.273's numbering, which FFmpeg uses."""


@dataclass
class Scan:
    """One entry a frame, in presentation order. ``keys``: indices of keyframes; ``checks``: what tells frames apart;
    ``pixels``: of the first."""

    times: list[int | None] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    checks: list[int] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    pixels: int = 0

    @property
    def seekable(self) -> bool:
        """Whether a frame's time names it: every frame has one, and they rise."""
        known = [t for t in self.times if t is not None]
        return len(known) == len(self.times) and all(a < b for a, b in itertools.pairwise(known))


def check(frame: VideoFrame) -> int:
    """A checksum of a decoded frame before colour conversion: is what seeking reached the frame of the scan?

    Of each row, as many bytes as the plane is wide: with deeper samples that is a part of the row, never its padding.
    """
    value = 0
    for plane in frame.planes:
        rows = np.frombuffer(bytes(plane), np.uint8).reshape(-1, abs(plane.line_size))[: plane.height, : plane.width]
        value = zlib.crc32(rows.tobytes(), value)
    return value


def scan(container: InputContainer, path: Path) -> Scan:
    """Decode every frame of the first video stream once.

    Raises DataError where there is none, where the stream reports damage and where the file ends too soon; the message
    says how many frames could be read.
    """
    if not container.streams.video:
        raise DataError(f"{path} holds no video stream (0 frames), only {len(container.streams)} other: name a video.")
    stream = container.streams.video[0]
    found = Scan()
    first: VideoFrame | None = None
    packets, video_end, end = 0, 0.0, 0.0
    try:
        for packet in container.demux():
            if packet.size and packet.dts is not None and packet.time_base is not None:
                start = packet.dts if packet.pts is None else packet.pts
                end = max(end, float((start + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream.index:
                continue
            if packet.size:
                packets, video_end = packets + 1, end
            for frame in packet.decode():
                assert isinstance(frame, VideoFrame)  # a video stream decodes to nothing else
                if frame.is_corrupt:
                    raise _broken(path, found, "the frame after them is damaged")
                first = first or frame
                if frame.key_frame:
                    found.keys.append(len(found.times))
                found.times.append(frame.pts)
                found.checks.append(check(frame))
    except (av.FFmpegError, OSError) as error:
        raise _broken(path, found, error.strerror or str(error)) from error
    if ends_early(container, stream, packets, video_end, end):
        raise _broken(path, found, "the file ends before the video does")
    if first is None:
        raise DataError(f"{path} has a video stream with 0 frames: export it again.")
    found.notes, found.pixels = _notes(first, stream), first.width * first.height
    return found


def _broken(path: Path, found: Scan, why: str) -> DataError:
    return DataError(
        f"{path} is damaged or truncated: {len(found.times)} frames could be read, then: {why}. Copy it again, "
        "or re-encode it to keep the frames that are whole."
    )


def ends_early(container: InputContainer, stream: VideoStream, packets: int, video_end: float, end: float) -> bool:
    """Whether the container announces more than came. FFmpeg ends such a file as if nothing were wrong.

    A count and a duration that both fall short, since an edit list may hide frames that the count includes; or, without
    a count, more than two frames and a quarter of a second missing of all streams together.
    """
    frame = float(1 / stream.average_rate) if stream.average_rate else 0.04
    if 0 < packets < stream.frames and stream.duration is not None and stream.time_base is not None:
        stated = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        return stated - video_end > frame / 2
    if container.duration is None:
        return False
    stated = ((container.start_time or 0) + container.duration) / av.time_base
    return stated - end > max(0.25, 2 * frame)


def _notes(frame: VideoFrame, stream: VideoStream) -> tuple[str, ...]:
    notes = []
    if frame.colorspace == UNTAGGED and not frame.format.is_rgb:
        notes.append(f"colour matrix not tagged, {'BT.709' if frame.height >= 720 else 'BT.601'} taken")
    bits = max(c.bits for c in frame.format.components)
    if bits > 8:
        notes.append(f"{bits}-bit to 8-bit")
    if frame.rotation % 360:
        notes.append(f"rotation of {-frame.rotation % 360} degrees applied")
    aspect = stream.sample_aspect_ratio
    if aspect and aspect != 1:
        notes.append(f"pixels of aspect {aspect.numerator}:{aspect.denominator} taken as square")
    return tuple(notes)
