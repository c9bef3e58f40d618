"""How well the regression gate tells worse from the same: planted defects, and re-runs of one commit.

Defects are planted in the predictions of a run that is then scored again; each has to fail the gate. Re-runs differ in
seed, thread count and batch size, each with a feature cache of its own; none may fail it. The last line is
``alarms: A of N``.

    python benchmarks/gate.py --reruns 10
    python benchmarks/gate.py --drawn --spread 3 --reruns 10
    python benchmarks/gate.py --method pointillist --spread 3 --reruns 10 --skip-defects

The methods that run everywhere draw nothing. ``--drawn`` makes face-warp one that does: every re-run moves and tints
each person by what its seed says, and the baseline's spread is measured on ``--spread`` further runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from avatarbench.datasets.images import read_image, write_png
from avatarbench.gate.baseline import Baseline
from avatarbench.gate.compare import check
from avatarbench.gate.make import of_folder, with_reruns
from avatarbench.gate.verdict import Verdict
from avatarbench.metrics.features import image_digest
from avatarbench.run.config import load_config
from avatarbench.run.pipeline import execute
from avatarbench.run.prepare import prepare_all, reopen, start
from avatarbench.run.record import RunRecord
from avatarbench.run.render import prediction_path

Image = NDArray[np.uint8]
Defect = Callable[[Image, str], Image]
"""A picture and its sample id to the picture that a worse method would have made."""

METRICS = ("psnr", "ssim", "lpips-alex", "akd-mediapipe", "apd-mediapipe", "aed-mediapipe", "csim-dlib")
"""All that need no network larger than AlexNet: what the baseline that ships was made with."""


def blurred(image: Image, sample: str) -> Image:
    """A Gaussian blur of sigma 0.7 px."""
    return np.rint(gaussian_filter(image.astype(np.float64), (0.7, 0.7, 0))).astype(np.uint8)


def shifted(image: Image, sample: str) -> Image:
    """One pixel to the right; the left column stays."""
    return np.concatenate([image[:, :1], image[:, :-1]], axis=1)


def swapped(image: Image, sample: str) -> Image:
    """Blue before red, as OpenCV reads."""
    return np.ascontiguousarray(image[:, :, ::-1])


def drawn(seed: int) -> Defect:
    """What a method that samples does from seed to seed: each person is moved by half a pixel and tinted by 2 %."""

    def change(image: Image, sample: str) -> Image:
        rng = np.random.default_rng([seed, *sample.split("/")[0].encode()])
        y, x = rng.normal(0, 0.5, 2)
        moved = shift(image.astype(np.float64), (y, x, 0), order=1, mode="nearest") * rng.normal(1, 0.02, 3)
        return np.clip(np.rint(moved), 0, 255).astype(np.uint8)

    return change


DEFECTS: dict[str, Defect] = {
    "blur of sigma 0.7 px": blurred,
    "shift by 1 px": shifted,
    "swapped channels": swapped,
}


def plant(run: Path, method: str, defect: Defect, out: Path, without: Sequence[str] = ()) -> Path:
    """A copy of ``run`` in ``out`` as if ``method`` had rendered with ``defect``: unscored, ready to be resumed.

    ``without``: metrics that the copy is not to be scored by.
    """
    shutil.copytree(run, out)
    record = RunRecord.load(out)
    record.id, record.metrics = out.name, [m for m in record.metrics if m.id not in without]
    record.save(out)
    events = [json.loads(line) for line in (out / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = []
    for event in events:
        if event.get("method") == method and event["kind"] == "scores":
            continue
        if event.get("method") == method and event["kind"] == "frame" and "digest" in event:
            path = prediction_path(out, method, event["sample"])
            worse = defect(read_image(path)[0], event["sample"])
            write_png(path, worse)
            event["digest"] = image_digest(worse)
        kept.append(event)
    lines = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in kept)
    (out / "journal.jsonl").write_text(lines, encoding="utf-8")
    return out


@dataclass(frozen=True)
class Job:
    """What is run, on ``openheads-self``. The defaults are those of the baseline that ships."""

    methods: tuple[str, ...] = ("face-warp", "source-copy")
    metrics: tuple[str, ...] = METRICS
    sources: int = 4
    limit: int = 2

    def command(self) -> list[str]:
        words = ["avatarbench", "run", *(w for m in self.methods for w in ("-m", m)), "-p", "openheads-self"]
        words += ["--sources", str(self.sources), "--limit", str(self.limit)]
        return [*words, *(w for m in self.metrics for w in ("--metric", m))]


def run(out: Path, job: Job, seed: int = 0, threads: int = 1, batch: int = 8) -> Path:
    """One run that computes every feature anew, with a cache of its own beside it."""
    out.mkdir(parents=True, exist_ok=True)
    flags = {"methods": list(job.methods), "protocol": "openheads-self", "metrics": list(job.metrics), "seed": seed}
    config = load_config(flags | {"sources.limit": job.sources, "frames.limit": job.limit, "batch": batch})
    (prepared,) = prepare_all([config])
    with _working(out, threads):
        folder, record = start(prepared, out, job.command())
        execute(prepared, folder, record)
    return folder


def resume(folder: Path, cache: Path) -> Path:
    """Score what :func:`plant` has made; what the networks computed of the real frames is in ``cache``."""
    prepared, record = reopen(folder)
    with _working(cache, 1):
        execute(prepared, folder, record)
    return folder


@contextmanager
def _working(cache: Path, threads: int) -> Iterator[None]:
    before, count = os.environ.get("AVATARBENCH_FEATURES"), torch.get_num_threads()
    os.environ["AVATARBENCH_FEATURES"] = str(cache / "features.sqlite3")
    torch.set_num_threads(threads)  # the kernels of ours follow it
    try:
        yield
    finally:
        torch.set_num_threads(count)
        del os.environ["AVATARBENCH_FEATURES"]
        if before is not None:
            os.environ["AVATARBENCH_FEATURES"] = before


def largest(verdict: Verdict) -> str:
    """The largest change of a mean, in tolerances, and the largest of all."""
    found = [(abs(r.change) / r.tolerance, r.metric.id) for r in verdict.rows if r.change is not None and r.tolerance]
    return "{:.2g} tolerances ({})".format(*max(found)) if found else "nothing measured"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="face-warp")
    parser.add_argument("--sources", type=int, default=4)
    parser.add_argument("--limit", type=int, default=3)
    parser.add_argument("--reruns", type=int, default=10)
    parser.add_argument("--spread", type=int, default=0, help="how many further runs the baseline's spread is from")
    parser.add_argument("--drawn", action="store_true", help="make the method one that draws; see above")
    parser.add_argument("--skip-defects", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, taken up again where it has some")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        runs = [_run_once(folder, options, number) for number in range(1 + options.spread + options.reruns)]
        saved = of_folder(runs[0])
        if options.spread:
            saved = with_reruns(saved, [of_folder(r) for r in runs[1 : 1 + options.spread]])
        if not (options.skip_defects or options.drawn):
            _defects(runs[0], saved, options.method, folder)
        alarms = 0
        for number, again in enumerate(runs[1 + options.spread :], 1):
            verdict = check(of_folder(again), saved, "the first run")
            alarms += verdict.failed
            print(f"re-run {number}: {verdict.headline()} largest change: {largest(verdict)}")
    print(f"alarms: {alarms} of {options.reruns}")


def _run_once(folder: Path, options: argparse.Namespace, number: int) -> Path:
    out = folder / f"{'drawn' if options.drawn else 'run'}-{number}"
    if done := [p.parent for p in out.glob("*/run.json") if RunRecord.load(p.parent).status in ("complete", "partial")]:
        return done[0]
    shutil.rmtree(out, ignore_errors=True)  # one that was stopped has half a cache
    threads, batch = 1 + number % 2, (8, 1, 3)[number % 3]
    if options.drawn:
        first = _run_once(folder, argparse.Namespace(**vars(options) | {"drawn": False}), 0)
        return resume(plant(first, options.method, drawn(number), out / out.name), first.parent)
    return run(out, Job((options.method,), METRICS, options.sources, options.limit), number, threads, batch)


def _defects(first: Path, saved: Baseline, method: str, folder: Path) -> None:
    for name, defect in DEFECTS.items():
        out = folder / name.replace(" ", "-")
        shutil.rmtree(out, ignore_errors=True)
        planted = resume(plant(first, method, defect, out), first.parent)
        verdict = check(of_folder(planted), saved, "the first run")
        told = ", ".join(f"{r.metric.id} {r.text(r.change, True)} {r.between}" for r in verdict.of("regressed"))
        print(f"{name}: {'caught' if verdict.failed else 'MISSED'}: {told}", flush=True)


if __name__ == "__main__":
    main()
