"""Two hundred kills of a worker in the middle of one run, and what is different afterwards: nothing.

    python benchmarks/isolation_kills.py [--kills 200] [--seed 0] [--frames 471]

Runs `avatarbench run` twice on the embedded clip with the same method in an environment of its own, once undisturbed,
once while its worker is killed (SIGKILL, or SIGTERM) at random moments: a third of them while it starts or builds, the
rest in the middle of frames. Compared are the samples, the digests of all pictures, and that no frame failed. Last
line: `kills: N, frames lost: 0, samples: the same`, and exit code 0; anything else is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, Python looks in benchmarks/ alone

from avatarbench.run.record import read_samples  # noqa: E402
from tests.isolated.versions import register  # noqa: E402

METHOD = "brisk"
PAUSE = 0.02
"""Seconds that a frame waits, so that a fast machine is not done before its worker was killed often enough."""


class Killer(threading.Thread):
    """Kills the worker of process ``pid`` until it has done so ``kills`` times or is stopped. ``progress`` counts what
    the run has finished: two thirds of the kills wait until the new worker has added to it."""

    def __init__(self, pid: int, kills: int, seed: int, progress: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self._host, self._kills, self._draw, self._progress = psutil.Process(pid), kills, random.Random(seed), progress
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        last = 0
        while self.done < self._kills and not self._over.is_set():
            worker = self._worker(last)
            if worker is None:
                continue
            if self._draw.random() < 1 / 3:
                self._over.wait(self._draw.uniform(0, 0.4))
            else:
                self._wait_for_progress()
                self._over.wait(self._draw.uniform(0, 0.02))
            with suppress(ProcessLookupError):
                os.kill(worker, self._draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)))
                self.done += 1
                last = worker

    def _worker(self, last: int) -> int | None:
        """The worker's process id, once it is another than ``last``."""
        self._over.wait(0.005)
        with suppress(psutil.Error):
            for child in self._host.children():
                if child.pid != last and any(word.endswith("worker.py") for word in child.cmdline()):
                    return child.pid
        return None

    def _wait_for_progress(self) -> None:
        before, until = self._progress(), time.monotonic() + 30
        while self._progress() == before and time.monotonic() < until and not self._over.is_set():
            time.sleep(0.002)


def run(folder: Path, variables: dict[str, str], frames: int, kills: int, seed: int) -> tuple[Path, int]:
    """One run, its worker killed ``kills`` times at most. Returns its folder and how often it was."""
    folder.mkdir()
    command = [sys.executable, "-m", "avatarbench", "run", "-m", METHOD, "-p", "clip-self", "--metric", "psnr"]
    command += [
        f"+method.{METHOD}.pause={PAUSE}",
        "--stride",
        "1",
        "--limit",
        str(frames),
        "--size",
        "64",
        "--out",
        "runs",
    ]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **variables})

    def progress() -> int:
        return sum(path.stat().st_size for path in folder.glob("runs/*/journal.jsonl"))

    killer = Killer(process.pid, kills, seed, progress)
    killer.start()
    try:
        code = process.wait()
    finally:
        process.kill()
        killer.stop()
    if code != 0:
        raise SystemExit(f"the run in {folder} ended with exit code {code}")
    return next((folder / "runs").iterdir()), killer.done


def outcome(folder: Path) -> tuple[list[dict[str, Any]], dict[str, str], dict[str, Any]]:
    """A run's samples, the digests of its pictures, and what its record says of the method."""
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    digests = {e["sample"]: e.get("digest", e.get("error")) for e in events if e["kind"] == "frame"}
    (method,) = json.loads((folder / "run.json").read_text())["methods"]
    return read_samples(folder).to_pylist(), digests, method


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=471)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        variables = register(home / "installed")
        calm, _ = run(home / "calm", variables, options.frames, 0, options.seed)
        stormy, kills = run(home / "stormy", variables, options.frames, options.kills, options.seed)
        samples, digests, _ = outcome(calm)
        found, pictures, method = outcome(stormy)
    lost = sum(digests[sample] != pictures.get(sample) for sample in digests)
    same = samples == found and len(digests) == options.frames
    print(f"{len(digests)} frames, {method['failures']} failed, worker started again {method['restarts']} times")
    print(f"kills: {kills}, frames lost: {lost}, samples: {'the same' if same else 'DIFFERENT'}")
    if kills < options.kills or lost or not same or method["failures"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
