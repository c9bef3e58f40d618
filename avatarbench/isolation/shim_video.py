"""Videos for shims: written and read by what the method's own environment has, in this order: ffmpeg (on PATH, or that
of imageio-ffmpeg), PyAV, OpenCV.

Copied beside a shim: Python 3.8, numpy and the standard library; what reads and writes is imported inside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

QUALITY = {"crf": "10", "preset": "veryfast"}
"""Of H.264: nearly without loss, since the method tracks what it sees."""


class VideoError(RuntimeError):
    """A video that cannot be written or read, or has another number of frames than expected."""


def write_video(path: str, frames: Sequence[np.ndarray], fps: float = 25.0) -> str:
    """``frames``, (H, W, 3) uint8 of one size with even sides, as H.264 (by OpenCV: MPEG-4) in ``path``, an .mp4.

    Returns what wrote it: ``ffmpeg``, ``PyAV`` or ``OpenCV``. Raises VideoError where none of them is here.
    """
    if not frames:
        raise VideoError(f"{path}: a video of no frames")
    height, width = frames[0].shape[:2]
    if height % 2 or width % 2 or any(f.shape != (height, width, 3) or f.dtype != np.uint8 for f in frames):
        raise VideoError(
            f"{path}: the frames of a video are (H, W, 3) uint8, of one size with even sides; the first is "
            f"{frames[0].shape} {frames[0].dtype}"
        )
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    program, av, cv2 = _ffmpeg(), _module("av"), _module("cv2")
    if program:
        _by_ffmpeg(program, path, frames, fps)
        return "ffmpeg"
    if av is not None:
        _by_pyav(av, path, frames, fps)
        return "PyAV"
    if cv2 is None:
        raise VideoError(_nothing("write", path))
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[:, :, ::-1]))
    writer.release()
    if not os.path.isfile(path) or not os.path.getsize(path):
        raise VideoError(f"OpenCV here cannot write {path}: add imageio-ffmpeg or av to this environment")
    return "OpenCV"


def _by_ffmpeg(program: str, path: str, frames: Sequence[np.ndarray], fps: float) -> None:
    height, width = frames[0].shape[:2]
    command = [program, "-y", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", f"{fps:g}", "-i", "-", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    command += [word for name, value in QUALITY.items() for word in ("-" + name, value)]
    done = subprocess.run([*command, path], input=b"".join(f.tobytes() for f in frames), stderr=subprocess.PIPE)
    if done.returncode:
        raise VideoError("ffmpeg cannot write {}: {}".format(path, done.stderr.decode("utf-8", "replace").strip()))


def _by_pyav(av: Any, path: str, frames: Sequence[np.ndarray], fps: float) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", dict(QUALITY)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def read_video(path: str, expected: int | None = None) -> list[np.ndarray]:
    """The frames of a video as (H, W, 3) uint8. Raises VideoError for one that is missing, empty or damaged, or has
    another number of frames than ``expected``."""
    if not os.path.isfile(path) or not os.path.getsize(path):
        raise VideoError("the video {} is {}".format(path, "empty" if os.path.isfile(path) else "not there"))
    program, av, cv2 = _ffmpeg(), _module("av"), _module("cv2")
    if program:
        command = [program, "-v", "error", "-i", path, "-vsync", "0", "-f", "image2pipe", "-c:v", "ppm", "-"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
        if done.returncode:
            raise VideoError("ffmpeg cannot read {}: {}".format(path, done.stderr.decode("utf-8", "replace").strip()))
        frames = _pictures(done.stdout)
    elif av is not None:
        try:
            with av.open(path) as container:
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        except (OSError, ValueError, IndexError) as error:  # PyAV's errors are of the first two; no stream is the last
            raise VideoError(f"PyAV cannot read {path}: {error}") from error
    elif cv2 is not None:
        frames, capture = [], cv2.VideoCapture(path)
        more, frame = capture.read()
        while more:
            frames.append(np.ascontiguousarray(frame[:, :, ::-1]))
            more, frame = capture.read()
        capture.release()
    else:
        raise VideoError(_nothing("read", path))
    if expected is not None and len(frames) != expected:
        raise VideoError(f"{path} has {len(frames)} frames, {expected} expected")
    return frames


def _pictures(stream: bytes) -> list[np.ndarray]:
    """PPM pictures one after the other, as ffmpeg writes them: ``P6``, width and height, 255, then the bytes."""
    frames, at = [], 0
    while at < len(stream):
        _, sides, _, rest = stream[at : at + 64].split(b"\n", 3)
        width, height = map(int, sides.split())
        at += min(64, len(stream) - at) - len(rest)
        frames.append(np.frombuffer(stream, np.uint8, height * width * 3, at).reshape(height, width, 3).copy())
        at += height * width * 3
    return frames


def _ffmpeg() -> str | None:
    found, bundled = shutil.which("ffmpeg"), _module("imageio_ffmpeg")
    return found or (bundled.get_ffmpeg_exe() if bundled is not None else None)


def _module(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        return None


def _nothing(what: str, path: str) -> str:
    return f"nothing in this environment can {what} {path}: ffmpeg, imageio-ffmpeg, av or opencv is needed"
