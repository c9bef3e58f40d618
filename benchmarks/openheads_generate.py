"""Frames of OpenHeads rendered per minute by one process and by two: ``python benchmarks/openheads_generate.py``.

Processes start together, and the clock starts when as many pictures are done as there are processes: imports and the
person's preparation, which a long run pays once, are then over, unless a process lags behind the others by a whole
picture, which lowers the rate. It stops with the last picture; encoding comes after that. The last line is two
processes over one, ``ratio: X``: as a picture may be half done when the clock starts or stops, it is good to about one
picture in those timed, and it says something only where two cores have nothing else to do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from avatarbench.openheads.cameras import FRONTAL
from avatarbench.openheads.generate import Request, generate


def frames_per_minute(workers: int, frames: int, size: int, samples: int) -> tuple[float, float]:
    """The rate of ``workers * frames`` pictures, and the seconds that the ``workers`` pictures before them took."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            Path(folder),
            identities=1,
            size=size,
            samples=samples,
            cameras=(FRONTAL,),
            frames=workers * (frames + 1),
            tracking=False,
        )
        begin = time.perf_counter()
        generate(request, workers, lambda done, total: times.append(time.perf_counter()))
    first = times[workers]  # times[0] is the report before any picture
    return 60 * (len(times) - 1 - workers) / (times[-1] - first), first - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=8, help="pictures that are timed, for each process")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--samples", type=int, default=32)
    options = parser.parse_args()
    rates = []
    for workers in (1, 2):
        rate, wait = frames_per_minute(workers, options.frames, options.size, options.samples)
        rates.append(rate)
        print(
            f"{_counted(workers, 'process', 'processes')}: {rate:.1f} frames a minute at {options.size} px and "
            f"{options.samples} samples, over {_counted(workers * options.frames, 'picture', 'pictures')}, "
            f"after {wait:.0f} s until {_counted(workers, 'picture was', 'pictures were')} done"
        )
    print(f"ratio: {rates[1] / rates[0]:.2f}")


def _counted(number: int, one: str, more: str) -> str:
    return f"{number} {one if number == 1 else more}"


if __name__ == "__main__":
    main()
