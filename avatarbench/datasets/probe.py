"""What is wrong with a media file, found without decoding all of it: a half-downloaded or truncated one, odd timing."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from avatarbench.datasets.images import IMAGE_SUFFIXES, read_image
from avatarbench.datasets.video import VIDEO_SUFFIXES, Video
from avatarbench.datasets.video_scan import ends_early
from avatarbench.errors import DataError

UNEVEN = 0.05
"""Share of the usual time between two frames that one may differ by: times are rounded to a container's ticks."""


@dataclass(frozen=True)
class Found:
    """``frames``: of a video, by its packets; 1 of a picture, 0 of another file. ``problem``: why it cannot be used,
    empty where it can; ``notes``: what reading it does by itself."""

    frames: int = 0
    problem: str = ""
    notes: tuple[str, ...] = ()


def probe(path: Path, decode: bool = False) -> Found:
    """Look at one file. ``decode``: every frame and pixel, which finds damage inside too and takes far longer."""
    suffix = path.suffix.lower()
    try:
        if path.stat().st_size == 0:
            return Found(problem="empty: 0 bytes")
        if suffix in VIDEO_SUFFIXES:
            found = _video(path)
            if decode and not found.problem:
                return Found(len(Video(path)), "", found.notes)
            return found
        if suffix in IMAGE_SUFFIXES:
            return _image(path, decode)
    except DataError as error:
        return Found(problem=str(error).removeprefix(f"{path} ").removeprefix("is "))
    except OSError as error:
        return Found(problem=f"cannot be read: {error.strerror or error}")
    return Found()


def _image(path: Path, decode: bool) -> Found:
    if decode:
        read_image(path)
        return Found(1)
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return Found(problem=f"damaged or truncated ({error})")
    return Found(1)


def _video(path: Path) -> Found:
    try:
        with av.open(str(path), "r") as container:
            if not container.streams.video:
                return Found(problem="no video stream")
            stream = container.streams.video[0]
            times: list[int] = []
            packets, video_end, end = 0, 0.0, 0.0
            for packet in container.demux():
                if not packet.size or packet.dts is None or packet.time_base is None:
                    continue
                start = packet.dts if packet.pts is None else packet.pts
                end = max(end, float((start + (packet.duration or 0)) * packet.time_base))
                if packet.stream_index == stream.index:
                    packets, video_end = packets + 1, end
                    times.append(start)
            if ends_early(container, stream, packets, video_end, end):
                return Found(packets, f"truncated: {packets} frames, and the file announces more")
        if not packets:
            return Found(problem="0 frames")
        with av.open(str(path), "r") as container:
            first = next(container.decode(container.streams.video[0]))
            rotation = -first.rotation % 360
    except (av.FFmpegError, StopIteration) as error:
        why = getattr(error, "strerror", None) or str(error) or "no frame can be decoded"
        return Found(problem=f"not a video that can be read ({why})")
    notes = (f"turned by {rotation} degrees in its metadata, read upright",) if rotation else ()
    return Found(packets, _uneven(times), notes)


def _uneven(times: list[int]) -> str:
    """Of presentation times in ticks: the sentence on a variable frame rate, or nothing."""
    ordered = sorted(times)
    gaps = [b - a for a, b in itertools.pairwise(ordered)]
    if not gaps:
        return ""
    usual = statistics.median(gaps)
    odd = sum(abs(gap - usual) > max(UNEVEN * usual, 1.5) for gap in gaps)
    if not odd:
        return ""
    return f"variable frame rate: {odd} of {len(gaps)} gaps between frames differ; re-encode it at a constant rate"
