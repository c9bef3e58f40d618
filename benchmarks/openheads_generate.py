"""Frames of OpenHeads rendered per minute by one process and by two: ``python benchmarks/openheads_generate.py``.

Counted are pictures after every process has finished its first one, so imports and a person's preparation, which a
long run pays once, are outside. The last line is two processes over one, ``ratio: X``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from avatarbench.openheads.cameras import FRONTAL
from avatarbench.openheads.generate import Request, generate


def frames_per_minute(workers: int, frames: int, size: int, samples: int) -> tuple[float, float]:
    """The rate, and the seconds until every process has rendered its first picture."""
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
    parser.add_argument("--frames", type=int, default=2, help="pictures that are timed, a process")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--samples", type=int, default=32)
    options = parser.parse_args()
    rates = []
    for workers in (1, 2):
        rate, wait = frames_per_minute(workers, options.frames, options.size, options.samples)
        rates.append(rate)
        print(
            f"{workers} process{'es' if workers > 1 else ''}: {rate:.1f} frames a minute at {options.size} px and "
            f"{options.samples} samples; {wait:.0f} s until each had its first"
        )
    print(f"ratio: {rates[1] / rates[0]:.2f}")


if __name__ == "__main__":
    main()
