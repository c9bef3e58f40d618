"""Frames a second of the reader against OpenCV, opening the same videos naively a frame at a time.

    python benchmarks/dataset.py [--size 512] [--frames 100] [--cameras 16] [--reads 48] [--rounds 3]

Writes one recording of a NeRSemble folder (generated heads, moved so that no two frames are equal) with ``--cameras``
H.264 videos of 4:2:0 and a keyframe every 25 frames, and reads it in three orders: each video from its start, frames of
one video at random, and one moment of all cameras after the other. The peer opens a video, seeks to the frame and
reads it, for every frame, as a careless loader does; the second peer keeps the videos open and reads on. Every order is
timed --rounds times from closed files, and the fastest counts; all read from the disk's cache. Memory is what the
process grows by. OpenCV's colour conversion is coarser, so that pictures differ a little. The last line is the naive
peer's time over ours in random order.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import psutil
from numpy.typing import NDArray

from avatarbench.datasets.layouts import write_nersemble
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.openheads.cameras import SERIALS

Picture = NDArray[np.uint8]
Step = tuple[str, int]
PERSON, TAKE = "501", "EXP-1-head"


def write(root: Path, cameras: int, frames: int, size: int) -> None:
    """One recording; every camera sees another part of the same moving picture."""
    source = root / "source"
    write_nersemble(source, (PERSON,))
    data = NersembleDataset(source)
    face = data.read(f"{PERSON}_PORTRAIT_222200037", 0)
    large = cv2.resize(face, (size, size), interpolation=cv2.INTER_CUBIC)
    images = root / "data" / PERSON / "sequences" / TAKE / "images"
    images.mkdir(parents=True)
    for number, serial in enumerate(SERIALS[:cameras]):
        with av.open(str(images / f"cam_{serial}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast", "g": "25"})
            stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
            for index in range(frames):
                moved = np.roll(large, (2 * index, 3 * index + 7 * number), axis=(0, 1)).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
            container.mux(stream.encode())


@dataclass(frozen=True)
class Pace:
    """Seconds a frame by the clock and of the processor, and the mean of each picture, as a sign that it was there."""

    clock: float
    processor: float
    means: tuple[float, ...]


def timed(read: Callable[[str, int], Picture], steps: Sequence[Step]) -> Pace:
    """Read every step once."""
    clock, processor = time.perf_counter(), time.process_time()
    means = tuple(float(read(sequence, index)[::16, ::16].mean()) for sequence, index in steps)
    return Pace((time.perf_counter() - clock) / len(steps), (time.process_time() - processor) / len(steps), means)


class Naive:
    """OpenCV: open, seek, read, close, for every frame."""

    def __init__(self, root: Path) -> None:
        self._images = root / PERSON / "sequences" / TAKE / "images"

    def path(self, sequence: str) -> str:
        return str(self._images / f"cam_{sequence.rpartition('_')[2]}.mp4")

    def read(self, sequence: str, index: int) -> Picture:
        video = cv2.VideoCapture(self.path(sequence))
        video.set(cv2.CAP_PROP_POS_FRAMES, index)
        found, image = video.read()
        video.release()
        if not found:
            raise SystemExit(f"OpenCV cannot read frame {index} of {self.path(sequence)}")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


class Kept(Naive):
    """OpenCV with every video left open, which seeks only where the next frame is not the one asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._open: dict[str, tuple[cv2.VideoCapture, int]] = {}

    def read(self, sequence: str, index: int) -> Picture:
        video, at = self._open.get(sequence) or (cv2.VideoCapture(self.path(sequence)), 0)
        if at != index:
            video.set(cv2.CAP_PROP_POS_FRAMES, index)
        found, image = video.read()
        if not found:
            raise SystemExit(f"OpenCV cannot read frame {index} of {self.path(sequence)}")
        self._open[sequence] = video, index + 1
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def orders(names: Sequence[str], frames: int, reads: int) -> dict[str, list[Step]]:
    """The three ways through the recording, ``reads`` frames each."""
    draw = np.random.default_rng(0)
    return {
        "sequential": [(names[0], index) for index in range(min(reads, frames))],
        "random": [(names[0], int(index)) for index in draw.integers(0, frames, reads)],
        "moments": [(name, int(index)) for index in range(-(-reads // len(names))) for name in names][:reads],
    }


def memory(read: Callable[[str, int], Picture], steps: Sequence[Step]) -> float:
    """MB that this process grows by."""
    gc.collect()
    before = psutil.Process().memory_info().rss
    for step in steps:
        read(*step)
    return (psutil.Process().memory_info().rss - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--reads", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3, help="of which the fastest counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root, options.cameras, options.frames, options.size)
        data = NersembleDataset(root / "data")
        names = list(data.sequences())
        start = time.perf_counter()
        grown = memory(
            lambda name, index: (data.length(name), data.read(name, index))[1], [(name, 0) for name in names]
        )
        scan = time.perf_counter() - start
        count = options.cameras * options.frames
        print(
            f"{options.cameras} videos of {options.frames} frames of {options.size} x {options.size}, "
            f"OpenCV {cv2.__version__}"
        )
        print(f"first opening of all, which decodes and checks each once: {scan:.1f} s, {count / scan:.0f} frames/s")
        kept = Kept(root / "data")
        theirs = memory(kept.read, [(name, 0) for name in names])
        print(f"memory of {len(names)} cameras, all open: {grown:.0f} MB, OpenCV {theirs:.0f} MB")
        ratio = float("nan")
        for order, steps in orders(names, options.frames, options.reads).items():
            best: dict[str, Pace] = {}
            for _ in range(options.rounds):
                data.close()
                readers = {"ours": data.read, "naive": Naive(root / "data").read, "kept open": Kept(root / "data").read}
                for name, read in readers.items():
                    found = timed(read, steps)
                    if name not in best or found.clock < best[name].clock:
                        best[name] = found
            ours = best["ours"]
            print(f"{order}: ours {1 / ours.clock:.1f} frames/s, {1e3 * ours.processor:.1f} ms of processor a frame")
            for name in ("naive", "kept open"):
                pace = best[name]
                apart = float(np.abs(np.subtract(ours.means, pace.means)).max())
                print(
                    f"  OpenCV {name}: {1 / pace.clock:.1f} frames/s, {1e3 * pace.processor:.1f} ms; ours is "
                    f"{pace.clock / ours.clock:.2f} x as fast; means of pictures differ by at most {apart:.2f} of 255"
                )
            if order == "random":
                ratio = best["naive"].clock / ours.clock
        data.close()
    print(f"ratio: {ratio:.2f}")


if __name__ == "__main__":
    main()
