"""Runs LAM's own command for a portrait and all of its drivers, and gives back a frame at a time.

In LAM's environment (Python 3.8 on), in a workspace of links to the checkout: what LAM writes into its working
directory (``exps``, ``tracking_output``) is this job's own, so that nothing of an earlier job can be taken for new.
"""

from __future__ import annotations

import os
import shutil
import wave
from typing import Any

import centred
import numpy as np
import shim_rig
import shim_tools
import worker

CONFIG = "configs/inference/lam-20k-8gpu.yaml"
WEIGHTS = "model.safetensors"
SIZE = 512
DATA_SIZE = 1024
"""Pixels of the pictures that LAM's drivers come from: it halves the intrinsics."""
FPS = 30
MINE = "avatarbench_job"
"""The folder, in the workspace, of what this shim writes. LAM is given relative paths only: its parser of arguments
reads them as YAML, where a user's folder may mean anything."""


class Shim:
    """``options``: ``repo``, ``weight_files`` with model.safetensors, ``device``, ``minutes`` that a job may take."""

    def __init__(self, options: dict[str, Any], job: str) -> None:
        self.options, self.job = options, job
        self.portrait: dict[str, Any] = {}
        self.frames: dict[str, tuple[str, np.ndarray]] = {}  # motion -> picture, homography
        self.works: list[str] = []  # of this portrait

    def build(self, portrait: dict[str, Any]) -> None:
        """LAM has no avatar apart from its frames: the portrait is tracked and reconstructed by :meth:`announce`."""
        for work in self.works:  # whose frames nobody asks for any more; its log stays
            shutil.rmtree(work, ignore_errors=True)
        self.portrait, self.frames, self.works = portrait, {}, []

    def announce(self, motions: list[dict[str, Any]]) -> None:
        """One run of LAM over all the frames: (re)builds the avatar and renders them."""
        name = shim_tools.unique_names(1)[0]
        links = {MINE + "/weights/" + WEIGHTS: self.options["weight_files"][WEIGHTS]}
        models = os.path.join(self.options["repo"], "model_zoo", "flame_tracking_models")
        if os.path.isdir(models) and not os.path.exists(os.path.join(self.options["repo"], "pretrain_model")):
            links["pretrain_model"] = models  # the runner looks there; the published archive unpacks elsewhere
        work = shim_tools.workspace(
            self.options["repo"], os.path.join(self.job, name), own=("exps", "tracking_output", MINE), links=links
        )
        self.works.append(work)
        mine = os.path.join(work, MINE)
        shim_tools.write_image(os.path.join(mine, "source", name + ".png"), self.portrait["image"])
        turned = [centred.centred(motion["camera"], SIZE) for motion in motions]
        drivers = os.path.join(mine, "motion", name)
        cameras = [dict(motion, camera=turned[index][0]) for index, motion in enumerate(motions)]
        shim_rig.vhap_folder(drivers, cameras, size=DATA_SIZE)
        write_silence(os.path.join(drivers, name + ".wav"), len(motions) / FPS)
        worker.say(f"LAM: tracking the portrait and rendering {len(motions)} frames")
        done = shim_tools.run(
            command(name),
            cwd=work,
            log=os.path.join(self.job, name + ".log"),
            timeout=60.0 * float(self.options["minutes"]),
            say=worker.say,
            watch=[os.path.join(mine, "images")],
            environment=dict(on_device(self.options["device"]), PYTHONPATH=work),
        )
        paths = shim_tools.harvest(
            os.path.join(mine, "images", name), "[0-9]*.png", len(motions), done, size=(SIZE, SIZE)
        )
        for index, motion in enumerate(motions):
            self.frames[motion["id"]] = paths[index], turned[index][1]

    def render(self, motion: dict[str, Any]) -> np.ndarray:
        """The frame of a motion, run now where it was not announced."""
        if motion["id"] not in self.frames:
            self.announce([motion])
        path, homography = self.frames[motion["id"]]
        camera = motion["camera"]
        return centred.warped(shim_tools.read_image(path), homography, int(camera["width"]), int(camera["height"]))


def command(name: str) -> list[str]:
    """LAM's command line, relative to the workspace. The slash at the end of the drivers' folder matters: its files are
    looked for in what precedes the last slash."""
    settings = {
        "model_name": MINE + "/weights",
        "image_input": f"{MINE}/source/{name}.png",
        "motion_seqs_dir": f"{MINE}/motion/{name}/",
        "motion_img_dir": "null",
        "export_video": "true",
        "export_mesh": "false",
        "save_img": "true",
        "save_ply": "false",
        "vis_motion": "false",
        "motion_img_need_mask": "true",
        "cross_id": "false",
        "test_sample": "false",
        "render_fps": FPS,
        "motion_video_read_fps": FPS,
        "image_dump": MINE + "/images",
        "video_dump": MINE + "/videos",
        "mesh_dump": MINE + "/meshes",
        "save_tmp_dump": MINE + "/tmp",
    }
    return ["python", "-m", "lam.launch", "infer.lam", "--config", CONFIG] + [
        f"{key}={value}" for key, value in settings.items()
    ]


def on_device(device: str) -> dict[str, str]:
    """The environment in which ``device`` is CUDA's first: no other is asked for."""
    return {"CUDA_VISIBLE_DEVICES": device[5:]} if device.startswith("cuda:") else {}


def write_silence(path: str, seconds: float) -> None:
    """A soundtrack of nothing, 16 kHz mono: without ``<folder>/<name>.wav`` LAM writes its video and no pictures."""
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(2 * int(16000 * max(seconds, 1.0))))
