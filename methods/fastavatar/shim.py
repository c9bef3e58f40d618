"""Runs FastAvatar's own launcher for a portrait and all of its drivers, and gives back a frame at a time.

In FastAvatar's environment (Python 3.8 on), in a workspace of links to the checkout: what it writes into
``infer_results`` is this job's own, as it reads ``infer_results/processed_data`` whosever that is.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

import centred
import numpy as np
import shim_rig
import shim_tools
import worker

CONFIG = "configs/inference/infer.yaml"
WEIGHTS = "model.safetensors"
SIZE = 512
DATA_SIZE = 1024
"""Pixels of the pictures that its drivers come from: it halves the intrinsics, as LAM does."""
MINE = "avatarbench_job"
"""The folder, in the workspace, of what this shim writes; FastAvatar is given paths relative to the workspace only,
since its parser of arguments reads them as YAML."""


class Shim:
    """``options``: ``repo``, ``weight_files`` with model.safetensors, ``device``, ``minutes`` that a job may take."""

    def __init__(self, options: dict[str, Any], job: str) -> None:
        self.options, self.job = options, job
        self.portrait: dict[str, Any] = {}
        self.frames: dict[str, tuple[str, np.ndarray]] = {}  # motion -> picture, homography
        self.works: list[str] = []  # of this portrait

    def build(self, portrait: dict[str, Any]) -> None:
        """Nothing is kept of an avatar but its frames: :meth:`announce` tracks the portrait and reconstructs it."""
        for work in self.works:  # whose frames nobody asks for any more; its log stays
            shutil.rmtree(work, ignore_errors=True)
        self.portrait, self.frames, self.works = portrait, {}, []

    def announce(self, motions: list[dict[str, Any]]) -> None:
        """One run of FastAvatar over all the frames: (re)builds the avatar and renders them."""
        name = shim_tools.unique_names(1)[0]
        work = shim_tools.workspace(
            self.options["repo"],
            os.path.join(self.job, name),
            own=("infer_results", MINE),
            links={MINE + "/weights/" + WEIGHTS: self.options["weight_files"][WEIGHTS]},
        )
        self.works.append(work)
        mine = os.path.join(work, MINE)
        # A folder of one picture: its tracker of one or several pictures finds nothing in a path that is a file.
        shim_tools.write_image(os.path.join(mine, "source", name, name + ".png"), self.portrait["image"])
        turned = [centred.centred(motion["camera"], SIZE) for motion in motions]
        shim_rig.vhap_folder(
            os.path.join(mine, "motion", name),
            [dict(motion, camera=turned[index][0]) for index, motion in enumerate(motions)],
            size=DATA_SIZE,
        )
        frames = os.path.join(mine, "frames", name)
        worker.say(f"FastAvatar: tracking the portrait and rendering {len(motions)} frames")
        done = shim_tools.run(
            command(os.path.join(os.path.dirname(os.path.abspath(__file__)), "lossless.py"), frames, name),
            cwd=work,
            log=os.path.join(self.job, name + ".log"),
            timeout=60.0 * float(self.options["minutes"]),
            say=worker.say,
            watch=[frames],
            environment=dict(on_device(self.options["device"]), PYTHONPATH=work),
        )
        paths = shim_tools.harvest(frames, "*.png", len(motions), done, size=(SIZE, SIZE))
        for index, motion in enumerate(motions):
            self.frames[motion["id"]] = paths[index], turned[index][1]

    def render(self, motion: dict[str, Any]) -> np.ndarray:
        """The frame of a motion, run now where it was not announced."""
        if motion["id"] not in self.frames:
            self.announce([motion])
        path, homography = self.frames[motion["id"]]
        camera = motion["camera"]
        return centred.warped(shim_tools.read_image(path), homography, int(camera["width"]), int(camera["height"]))


def command(launcher: str, frames: str, name: str) -> list[str]:
    """FastAvatar's launcher with every setting by its name: its README lists those of its script in another order than
    the script reads them. The slash at the end of the drivers' folder matters, as in LAM."""
    settings = {
        "model_name": MINE + "/weights",
        "image_input": f"{MINE}/source/{name}",
        "motion_seqs_dir": f"{MINE}/motion/{name}/",
        "export_video": "true",
        "render_fps": 30,
        "motion_video_read_fps": 30,
        "inference_N_frames": 1,
        "max_single_frame_render": 1,
        "mode": "Monocular",
        "vis_motion": "false",
        "test_sample": "false",
    }
    return ["python", launcher, frames, "infer.fastavatar", "--config", CONFIG] + [
        f"{key}={value}" for key, value in settings.items()
    ]


def on_device(device: str) -> dict[str, str]:
    """The environment in which ``device`` is CUDA's first: no other is asked for."""
    return {"CUDA_VISIBLE_DEVICES": device[5:]} if device.startswith("cuda:") else {}
