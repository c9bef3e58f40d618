"""What a worker in an environment of its own costs a frame, beside the same method in this process.

    python benchmarks/isolation.py [--frames 5] [--rounds 40] [--size 512] [--quick]

Two methods: a trivial one (the portrait, one pixel changed), and one that works for 50 ms. Its work is real, products
of matrices, as many as 50 ms take in this process before anything is measured: a sleep would hide what two processes
take from each other. Both sides run the same file, single-threaded, take turns within one run of this script, and give
the same pixels, which is checked; the median frame of a round counts, and of the rounds the least. A frame of the
worker carries the driver's picture to it and the rendered one back over pipes, through whatever keeps the process in on
this machine. Peak memory is resident: of this process at its end, with all that the benchmark imports, and of the
worker. Last line: frames a second of the worker / of this process, at 50 ms.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # before numpy

import numpy as np  # noqa: E402

from avatarbench.errors import AvatarbenchError  # noqa: E402
from avatarbench.isolation import environments  # noqa: E402
from avatarbench.isolation.method import IsolatedMethod, plain  # noqa: E402
from avatarbench.isolation.recipe import Recipe  # noqa: E402
from avatarbench.method import Motion, Portrait  # noqa: E402
from benchmarks import isolation_shim  # noqa: E402

WORK = 0.05  # seconds
Render = Callable[[Motion], Any]


class Worked(IsolatedMethod):
    recipe = Recipe(method="benchmark", python="{}.{}".format(*sys.version_info[:2]))
    shim = ROOT / "benchmarks" / "isolation_shim.py"


def calibrate(seconds: float) -> int:
    """How many products take ``seconds`` here."""
    isolation_shim.work(3)
    return max(1, round(seconds / min(_timed(lambda: isolation_shim.work(4)) / 4 for _ in range(300))))


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_process(portrait: Portrait, repeats: int) -> Render:
    """The shim's own class, called."""
    shim = isolation_shim.Shim({"repeats": repeats}, "")
    shim.build(plain(portrait))
    return lambda motion: shim.render(plain(motion))


def turns(ours: Render, theirs: Render, motions: list[Motion], rounds: int) -> tuple[float, float]:
    """Seconds of a frame in this process and in the worker: the least of the rounds' medians."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for render, least in zip((ours, theirs), found, strict=True):
            least.append(median(_timed(lambda m=motion, r=render: r(m)) for motion in motions))  # type: ignore[misc]
    return min(found[0]), min(found[1])


def measure(name: str, repeats: int, environment: environments.Environment, options: argparse.Namespace) -> float:
    """Print one method's line and return the worker's share of the throughput."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 255, (options.frames + 1, options.size, options.size, 3)).astype(np.uint8)
    portrait = Portrait("p", pictures[0])
    motions = [Motion(str(i), i, picture) for i, picture in enumerate(pictures[1:])]
    method = Worked(environment=environment, options={"repeats": repeats})
    try:
        avatar, here = method.build(portrait), in_process(portrait, repeats)
        if not all(np.array_equal(here(motion), avatar.render(motion)) for motion in motions[:3]):
            raise AvatarbenchError("the worker's pictures are not those of this process: nothing was measured.")
        ours, theirs = turns(here, avatar.render, motions, options.rounds)
        memory = method.peak_memory_mib
    finally:
        method.close()
    print(
        f"{name:<10}  {ours * 1e3:>10.3f}  {theirs * 1e3:>10.3f}  {(theirs - ours) * 1e3:>11.3f}"
        f"  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:>12.0f}  {memory:>12.0f}"
    )
    return ours / theirs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=5, help="frames a round")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--size", type=int, default=512, help="side of the pictures, pixels")
    parser.add_argument("--quick", action="store_true", help="3 frames, 1 round: that it runs, no figures")
    options = parser.parse_args()
    if options.quick:
        options.frames, options.rounds = 3, 1
    environment = environments.given(Worked.recipe, Path(sys.executable))
    guard = environment.guard().as_dict()
    print(f"{options.size} x {options.size}; the worker: network {guard['network']}, files {guard['files']}")
    print("method      process ms   worker ms  overhead ms  process MiB    worker MiB")
    measure("trivial", 0, environment, options)
    print(f"ratio: {measure('50 ms', calibrate(WORK), environment, options):.3f}")


if __name__ == "__main__":
    main()
