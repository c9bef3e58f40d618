"""Speed and memory of the full offline metric suite, beside the reference packages in the same process run.

    python benchmarks/metrics.py [--full | --quick | --pairs N] [--channels-last] [--methods 3] [--memory]

The peer is the reference packages in a plain loop: one frame at a time, tensors in torch's usual layout (contiguous
NCHW), VGG16 run once for lpips-vgg and again for fd-vgg, and the landmarker run by each metric that needs a face. Ours
shares these passes between metrics and computes in channels-last. ``--channels-last`` gives the peer's networks and
inputs that layout too: what is left of the ratio is the sharing.

Ours and the peer take turns on chunks of frame pairs, so that a noisy machine slows both; the last line is the ratio of
their total times. Building models and making frames is not timed, the same number of threads serves both. Where a
metric's values differ by more than a relative 1e-5 the benchmark fails, and prints no ratio.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone

from avatarbench.metrics.cache import FeatureCache  # noqa: E402
from avatarbench.metrics.scorer import Item, LazyImage, Scorer  # noqa: E402
from avatarbench.registry import metric  # noqa: E402
from benchmarks.frames import Frames, Picture  # noqa: E402

PAIRWISE = (
    *("psnr", "ssim", "lpips-alex", "lpips-vgg"),
    *("akd-mediapipe", "apd-mediapipe", "aed-mediapipe", "csim-dlib"),
)
SUITE = (*PAIRWISE, "fd-vgg")
CHUNK = 5
TURN = 2  # targets a turn of the comparison of several methods: its turns are longer
TOLERANCE = 1e-5
WARM_UP = 400  # a frame of the clip that no measured pair uses
Values = dict[str, list[float]]


def scorer(cache: Path | None = None) -> Scorer:
    return Scorer([metric(name) for name in SUITE], FeatureCache(cache))


def group(frames: Frames, index: int, methods: int) -> list[Item]:
    """The items of one target, pixels already in memory."""
    target = _held(f"target/{index}", frames.target(index))
    return [
        Item(
            str(index),
            str(m),
            _held(f"{m}/{index}", frames.prediction(index, m)),
            {"target": target, "driver": target, "identity": target},
        )
        for m in range(methods)
    ]


def _held(key: str, image: Picture) -> LazyImage:
    return LazyImage(key, lambda: image)


def timed(work: Callable[..., object], *arguments: object) -> float:
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def set_value(ours: Scorer, count: int, method: int = 0) -> float:
    """``fd-vgg`` from what scoring kept: no image is read."""
    return ours.set_value(
        "fd-vgg",
        [LazyImage(f"{method}/{n}", _gone) for n in range(count)],
        [LazyImage(f"target/{n}", _gone) for n in range(count)],
    ).value


def _gone() -> Picture:
    raise RuntimeError("an image was read again after scoring")


def against_peer(count: int, size: int, channels_last: bool = False) -> float:
    """Print frames per second and agreement; the ratio of times, peer over ours. Exits where the values differ."""
    from benchmarks.peer import Peer

    frames, ours, peer = Frames(size), scorer(), Peer(channels_last)
    found: Values = {name: [] for name in SUITE}
    theirs: Values = {name: [] for name in SUITE}
    pixels: dict[int, list[Item]] = {}

    def run_ours(indices: list[int]) -> None:
        for scores in ours.score([pixels[n] for n in indices]):
            for score in scores:
                found[score.metric].append(score.value)

    def run_peer(indices: list[int]) -> None:
        for n in indices:
            (item,) = pixels[n]
            assert isinstance(item.prediction, LazyImage)
            for name, value in peer.score(item.prediction.load(), item.references["target"].load()).items():
                theirs[name].append(value)

    pixels[WARM_UP] = group(frames, WARM_UP, 1)
    for side in (run_ours, run_peer):
        side([WARM_UP])
    peer.features.clear()
    found.update({name: [] for name in SUITE})
    theirs.update({name: [] for name in SUITE})
    spent = [0.0, 0.0]
    for start in range(0, count, CHUNK):
        indices = list(range(start, min(start + CHUNK, count)))
        pixels = {n: group(frames, n, 1) for n in indices}
        sides = [(0, run_ours), (1, run_peer)]
        for place, side in sides if start // CHUNK % 2 == 0 else reversed(sides):
            spent[place] += timed(side, indices)
    spent[0] += timed(lambda: found["fd-vgg"].append(set_value(ours, count)))
    spent[1] += timed(lambda: theirs["fd-vgg"].append(peer.frechet()))
    peer.close()
    ours.close()
    print(f"{count} frame pairs at {size} x {size}, {len(SUITE)} metrics, {_threads()} threads")
    print(f"{'metric':<16} {'ours':>10} {'peer':>10} {'largest relative difference':>28}")
    apart = {name: _apart(found[name], theirs[name]) for name in SUITE}
    for name in SUITE:
        print(f"{name:<16} {_mean(found[name]):>10.4f} {_mean(theirs[name]):>10.4f} {apart[name]:>28.1e}")
    print(f"peer: {peer.layout}, VGG16 for lpips-vgg and again for fd-vgg, landmarks found by each metric")
    print(f"ours: {count / spent[0]:.3f} frames/s   peer: {count / spent[1]:.3f} frames/s")
    if fault := disagreement(apart):
        sys.exit(fault)
    return spent[1] / spent[0]


def disagreement(apart: dict[str, float]) -> str | None:
    """What is wrong where a metric's largest relative difference to the peer exceeds :data:`TOLERANCE`, or None."""
    beyond = [f"{name} by {difference:.1e}" for name, difference in apart.items() if not difference <= TOLERANCE]
    return f"ours and the peer differ by more than {TOLERANCE:.0e}: {', '.join(beyond)}" if beyond else None


def _apart(ours: list[float], theirs: list[float]) -> float:
    pairs = list(zip(ours, theirs, strict=True))
    if any(math.isnan(a) != math.isnan(b) for a, b in pairs):
        return math.inf
    return max((abs(a - b) / max(abs(b), 1e-12) for a, b in pairs if not math.isnan(a)), default=0.0)


def _mean(values: list[float]) -> float:
    valid = [v for v in values if not math.isnan(v)]
    return sum(valid) / len(valid) if valid else math.nan


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def together(count: int, size: int, methods: int) -> float:
    """Seconds of scoring the methods one by one over seconds of scoring them together, caches cold in both."""
    frames, joint, single = Frames(size), scorer(), [scorer() for _ in range(methods)]
    for one in (joint, *single):
        list(one.score([group(frames, WARM_UP, 1)]))
    spent = [0.0, 0.0]
    for start in range(0, count, TURN):
        indices = range(start, min(start + TURN, count))
        groups = [group(frames, n, methods) for n in indices]

        def run_joint(groups: list[list[Item]] = groups) -> None:
            list(joint.score(groups))

        def run_single(groups: list[list[Item]] = groups) -> None:
            for m, one in enumerate(single):
                list(one.score([[items[m]] for items in groups]))

        sides = [(0, run_joint), (1, run_single)]
        for place, side in sides if start // TURN % 2 == 0 else reversed(sides):
            spent[place] += timed(side)
    spent[0] += timed(lambda: _ignore(set_value(joint, count, m) for m in range(methods)))
    spent[1] += timed(lambda: _ignore(set_value(one, count, m) for m, one in enumerate(single)))
    for one in (joint, *single):
        one.close()
    a_method = [seconds / methods / count for seconds in spent]
    costs = f"{a_method[0]:.3f} s a frame and method together, {a_method[1]:.3f} s one by one"
    print(f"{methods} methods, {count} targets: {costs}")
    return spent[1] / spent[0]


def _ignore(values: Iterator[float]) -> None:
    for _ in values:
        pass


def peak_memory(count: int, size: int) -> float:
    """MiB, the peak of a fresh process that scores ``count`` pairs with a cold cache on disk."""
    command = [sys.executable, __file__, "--memory-of", str(count), "--size", str(size)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["mib"])


def score_and_report_memory(count: int, size: int) -> None:
    frames = Frames(size)
    with tempfile.TemporaryDirectory() as folder:
        ours = scorer(Path(folder) / "features.sqlite3")
        for _ in ours.score(group(frames, n, 1) for n in range(count)):
            pass
        set_value(ours, count)
        ours.close()
    print(json.dumps({"mib": peak_resident_mib()}))


def peak_resident_mib() -> float:
    """VmHWM of this process: ru_maxrss would carry over what the process that started this one held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pairs", type=int, default=40, help="frame pairs of the comparison with the peer; 0 leaves it out"
    )
    parser.add_argument("--full", action="store_const", dest="pairs", const=200, help="200 pairs")
    parser.add_argument("--quick", action="store_const", dest="pairs", const=3, help="3 pairs: does it run at all")
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--channels-last", action="store_true", help="the peer's networks and inputs in that layout")
    parser.add_argument("--methods", type=int, default=0, help="also score so many methods together and one by one")
    parser.add_argument(
        "--memory", action="store_true", help="also compare the peak memory of 200 and 2,000 frames at 128"
    )
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        return score_and_report_memory(options.memory_of, options.size)
    ratio = against_peer(options.pairs, options.size, options.channels_last) if options.pairs else None
    if options.memory:
        small, large = peak_memory(200, 128), peak_memory(2000, 128)
        print(f"peak memory: {small:.0f} MiB for 200 frames, {large:.0f} MiB for 2,000 frames")
        growth = (large - small) * 1024 / (2000 - 200)
        print(f"memory: {large / small:.3f} ({growth:.1f} KiB a pair)")
    if options.methods:
        print(f"joint: {together(min(options.pairs or 40, 40), options.size, options.methods):.2f}")
    if ratio is not None:
        print(f"ratio: {ratio:.2f}")
    return None


if __name__ == "__main__":
    main()
