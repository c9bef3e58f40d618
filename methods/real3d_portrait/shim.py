"""Real3D-Portrait in its own environment: one video a driver sequence, one job at a time. Python 3.8, numpy."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import shim_tools
import shim_video
import worker

SIDE = 512
LEAST = 8
"""Frames of a video: its fitting of a face model to fewer takes means of nothing, and its smoothing spans seven."""


class Shim:
    """``options``: ``repo``, ``weights`` (the folder that it calls checkpoints), ``timeout`` (seconds of one command),
    ``seed``: its own default is the time of day."""

    def __init__(self, options: dict[str, Any], job: str) -> None:
        if options["device"].startswith("cuda:"):  # its scripts know the first device only
            os.environ["CUDA_VISIBLE_DEVICES"] = options["device"][len("cuda:") :]
        self._repo, self._weights = options["repo"], options["weights"]
        self._timeout, self._seed, self._job = float(options["timeout"]), int(options["seed"]), job
        self._source = np.zeros((0, 0, 3), np.uint8)
        self._folder = ""
        self._results: dict[str, str] = {}
        self._lost: dict[str, Exception] = {}

    def build(self, portrait: dict[str, Any]) -> dict[str, float]:
        """Keeps the source. Every job reconstructs it: the script keeps nothing."""
        if portrait["face"] is None:
            raise worker.Unscorable("no face found in the portrait")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = os.path.join(self._job, "portrait_" + shim_tools.unique_names(1)[0])
        self._source = portrait["image"]
        self._results, self._lost = {}, {}
        return {}

    def announce(self, motions: Sequence[dict[str, Any]]) -> None:
        """Renders driver by driver: its tracker and its camera smooth over the frames of a video."""
        drivers: dict[str, list[dict[str, Any]]] = {}
        for motion in motions:  # an id is source/driver/frame
            drivers.setdefault(motion["id"].rpartition("/")[0], []).append(motion)
        for sequence in drivers.values():
            try:
                self._reenact(sorted(sequence, key=lambda motion: motion["index"]))
            except (shim_tools.ShimError, shim_video.VideoError) as error:  # not the other drivers' frames
                self._lost.update({motion["id"]: error for motion in sequence})

    def render(self, motion: dict[str, Any]) -> np.ndarray:
        """(512, 512, 3) uint8 in the driver's frame."""
        name = motion["id"]
        if name not in self._results and name not in self._lost:
            self._reenact([motion])
        if name in self._lost:
            raise self._lost[name]
        return shim_tools.read_image(self._results[name])

    def _reenact(self, motions: Sequence[dict[str, Any]]) -> None:
        """A frame without a face would cost the whole video: MediaPipe, which it tracks with, said which those are."""
        faceless = [motion["id"] for motion in motions if motion["face"] is None]
        self._lost.update({name: worker.Unscorable("no face found in the driver") for name in faceless})
        motions = [motion for motion in motions if motion["face"] is not None]
        if not motions:
            return
        job = os.path.join(self._folder, "job_" + shim_tools.unique_names(1)[0])
        kept = os.path.join(job, "frames")
        place = self._checkout(os.path.join(job, "checkout"))
        frames = [motion["image"] for motion in motions]
        frames += frames[-1:] * (LEAST - len(frames))
        shim_video.write_video(os.path.join(place, "driver.mp4"), frames, 25)
        shim_tools.write_image(os.path.join(place, "source.png"), self._source)
        # Names without a folder: it puts them into lines for a shell.
        command = ["python", os.path.join(os.path.dirname(os.path.abspath(__file__)), "keep.py"), kept]
        command += ["inference/real3d_infer.py", "--src_img", "source.png", "--drv_aud", "driver.mp4"]
        command += ["--drv_pose", "driver.mp4", "--out_name", "result.mp4", "--out_mode", "final"]
        command += ["--map_to_init_pose", "False", "--blink_mode", "none", "--seed", str(self._seed)]
        command += ["--min_face_area_percent", "0.2"]
        with shim_tools.locked(_lock(self._repo), worker.say):
            log = os.path.join(job, "log.txt")
            done = shim_tools.run(
                command, place, log, self._timeout, worker.say, [kept], environment={"PYTHONPATH": place}
            )
        for number, motion in enumerate(motions):
            try:
                found = shim_tools.harvest(kept, f"{number:06d}.png", 1, done, (SIDE, SIDE))
            except shim_tools.ShimError as error:
                self._lost[motion["id"]] = error
            else:
                self._results[motion["id"]] = found[0]

    def _checkout(self, folder: str) -> str:
        """The repository in a folder of the job's own: it writes its temporary files, by names that are always the
        same, into the folder that it runs in."""
        shim_tools.workspace(self._repo, folder, own=("infer_out", "temp"), links={"checkpoints": self._weights})
        for name in ("demo.mp4", "driver.mp4", "source.png", "result.mp4", "driver_lms.npy"):
            path = os.path.join(folder, name)
            if os.path.islink(path):  # of an earlier run by hand: it would be written over, or be read
                os.unlink(path)
        return folder


def _lock(repo: str) -> str:
    """One lock a checkout and user, for all processes of this machine. Not in the checkout, which may be read-only, and
    not where TMPDIR says, which is a folder of this job's own."""
    name = hashlib.sha256(os.path.realpath(repo).encode()).hexdigest()[:12]
    folder = "/tmp" if os.access("/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()
    return os.path.join(folder, f"avatarbench-real3d-{os.getuid()}-{name}.lock")
