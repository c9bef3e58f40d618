"""AvatarArtist in its own environment: its tracker on source and drivers, then one source a process."""

from __future__ import annotations

import glob
import json
import os
import shutil
from collections.abc import Sequence
from typing import Any

import aligned
import numpy as np
import shim_tools
import worker

SIDE = 512
SOURCE, DRIVERS = "source", "drivers"
CUT = 1024
"""Pixels of the square that its alignment cuts; the middle ``MIDDLE`` of them become SIDE."""
MIDDLE, ZOOM = 700, 300
"""``ZOOM``: pixels of that square a unit of the standard head. Source: ``crop_image`` of lib/align_in_the_wild.py."""


class Shim:
    """``options``: ``repo``, ``weights`` (the folder that it calls pretrained_model), ``timeout`` (seconds of one
    command), ``seed`` of its diffusion, the same in each job of a source, which makes the same head."""

    def __init__(self, options: dict[str, Any], job: str) -> None:
        if options["device"].startswith("cuda:"):  # its scripts know the first device only
            os.environ["CUDA_VISIBLE_DEVICES"] = options["device"][len("cuda:") :]
        self._timeout, self._seed, self._job = float(options["timeout"]), int(options["seed"]), job
        self._work = _checkout(options["repo"], os.path.join(job, "checkout"), options["weights"])
        self._folder = ""
        self._jobs = 0
        self._results: dict[str, tuple[str, aligned.Aligned]] = {}
        self._lost: dict[str, Exception] = {}

    def build(self, portrait: dict[str, Any]) -> dict[str, float]:
        """Tracks the source. Its head is made anew by every job: inference.py keeps none."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = os.path.join(self._job, "portrait_" + shim_tools.unique_names(1)[0])
        self._results, self._lost = {}, {}
        if not self._track(SOURCE, [portrait["image"]], "--is_img"):
            raise worker.Unscorable("its own tracker found no face")
        return {}

    def announce(self, motions: Sequence[dict[str, Any]]) -> None:
        """Renders sequence by sequence, since its tracker smooths over time and takes frames as one video."""
        for sequence in _sequences(motions):
            try:
                self._reenact(sequence)
            except shim_tools.ShimError as error:  # it costs this driver's frames, not the others'
                self._lost.update({motion["id"]: error for motion in sequence})

    def render(self, motion: dict[str, Any]) -> np.ndarray:
        """(H, W, 4) uint8 in the frame of the driver's picture; nothing is there where its own square ends."""
        name = motion["id"]
        if name not in self._results and name not in self._lost:
            self._reenact([motion])
        if name in self._lost:
            raise self._lost[name]
        path, crop = self._results[name]
        height, width = motion["image"].shape[:2]
        return aligned.back(shim_tools.read_image(path), crop, (width, height))

    def _reenact(self, motions: Sequence[dict[str, Any]]) -> None:
        self._jobs += 1
        name = f"{DRIVERS}_{self._jobs}"
        crops = self._track(name, [motion["image"] for motion in motions], "--is_video")
        for place, motion in enumerate(motions):
            if place not in crops:
                self._lost[motion["id"]] = worker.Unscorable("its own tracker found no face, or too small a one")
        if not crops:
            return
        source = os.path.join(self._folder, SOURCE, "dataset")
        out = os.path.join(self._folder, f"out_{self._jobs}")
        command = ["python", "inference.py", "--img_file", os.path.join(source, "images512x512", SOURCE)]
        command += ["--input_img_fvid", os.path.join(source, "coeffs", SOURCE)]
        command += ["--input_img_motion", os.path.join(source, "motions", SOURCE)]
        command += ["--video_name", name, "--target_path", os.path.join(self._folder, name, "dataset")]
        command += ["--output_basedir", out, "--seed", str(self._seed)]
        done = self._run(command, self._work, [out])
        # It raises when its frames are written and its videos are to be, so that only the frames say how it went; and
        # the folder between, today's date, may be tomorrow's by then.
        folders = glob.glob(os.path.join(glob.escape(out), "*", name, "*", "out"))
        if len(folders) != 1:
            raise shim_tools.ShimError(f"{len(folders)} folders of frames, where one is expected: {done.ended()}")
        digits = _digits(folders[0])
        for number, place in enumerate(sorted(crops)):
            motion = motions[place]
            try:
                found = shim_tools.harvest(folders[0], f"{number:0{digits}d}.png", 1, done, (SIDE, SIDE))
            except shim_tools.ShimError as error:
                self._lost[motion["id"]] = error
            else:
                self._results[motion["id"]] = (found[0], crops[place])

    def _track(self, name: str, images: Sequence[np.ndarray], kind: str) -> dict[int, aligned.Aligned]:
        """Its FaceVerse tracking of ``images`` as ``FOLDER/name/dataset``: by their place, where each was cut.

        The pictures are put where it unpacks videos to, so that no codec touches them. Frames without a face are
        dropped at one of three stages, and a frame that lacks one of its files would stop inference.py: such a
        frame's others are taken away, and the frames left are numbered anew.
        """
        save = os.path.join(self._folder, name)
        names = [str(place) for place in range(len(images))]
        for place, image in enumerate(images):
            shim_tools.write_image(os.path.join(save, "raw_frames", name, names[place] + ".png"), image)
        with open(os.path.join(save, "raw_frames", "valid_imgs.json"), "w") as file:
            json.dump([[name, [stem + ".png" for stem in names]]], file)
        command = ["python", "input_img_align_extract_ldm.py", "--input_dir", os.path.join(save, "raw_frames", name)]
        command += ["--save_dir", save, kind, "--no_extract_frames"]
        done = self._run(command, os.path.join(self._work, "data_process"), [save])
        data = os.path.join(save, "dataset")
        posed = _posed(os.path.join(data, "images512x512", "dataset_realcam.json"))
        if posed is None:
            raise shim_tools.ShimError("its tracker wrote no cameras: " + done.ended())
        crops = {}
        for place, stem in enumerate(names):
            motion = os.path.join(data, "motions", name, stem + ".npy")
            files = [motion, os.path.join(data, "coeffs", name, stem + ".npy")]
            files.append(os.path.join(data, "images512x512", name, stem + ".png"))
            points = os.path.join(save, "realign_detections", name, stem + ".txt")
            if all(map(os.path.isfile, [*files, points])) and f"{name}/{stem}.png" in posed:
                height, width = images[place].shape[:2]
                crops[place] = _crop(np.loadtxt(points), (width, height))
            elif os.path.exists(motion):
                os.remove(motion)
        return crops

    def _run(self, command: list[str], place: str, watch: list[str]) -> shim_tools.CommandResult:
        log = os.path.join(self._folder, "log.txt")
        return shim_tools.run(command, place, log, self._timeout, worker.say, watch)


def _checkout(repo: str, folder: str, weights: str) -> str:
    """The repository with the weights where it looks for them, in a folder of the job's own.

    Its tracker finds them from the place of its own configuration file, links resolved: script and configuration are
    copied, everything else is linked.
    """
    script = os.path.join("data_process", "input_img_align_extract_ldm.py")
    configuration = os.path.join("data_process", "lib", "config")
    shim_tools.workspace(repo, folder, own=(configuration,), links={"pretrained_model": weights})
    for name in os.listdir(os.path.join(repo, configuration)):
        if name.endswith(".py"):
            shutil.copyfile(os.path.join(repo, configuration, name), os.path.join(folder, configuration, name))
    os.unlink(os.path.join(folder, script))
    shutil.copyfile(os.path.join(repo, script), os.path.join(folder, script))
    return folder


def _sequences(motions: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The frames of one driver each: an id is source/driver/frame, and the frames of a driver follow each other."""
    found: dict[str, list[dict[str, Any]]] = {}
    for motion in motions:
        found.setdefault(motion["id"].rpartition("/")[0], []).append(motion)
    return [sorted(group, key=lambda motion: motion["index"]) for group in found.values()]


def _posed(path: str) -> Any:
    """The frames that got a camera, as ``name/0.png``; None where there is no such file."""
    if not os.path.isfile(path):
        return None
    with open(path) as file:
        return {label[0] for label in json.load(file)["labels"]}


def _crop(points: np.ndarray, size: tuple[int, int]) -> aligned.Aligned:
    """Where a picture was cut, from the five points (y up) that its alignment leaves in realign_detections."""
    per_unit, centre = aligned.fitted(points.reshape(5, 2))
    square = aligned.aligned(size, ZOOM / per_unit, centre, CUT)
    border = int(CUT / 2 - MIDDLE / 2)
    return aligned.Aligned(square.width, square.height, square.left + border, square.top + border, MIDDLE)


def _digits(folder: str) -> int:
    """How many digits its frames' names have: four in one version of inference.py, five in another."""
    names = [name for name in os.listdir(folder) if name.endswith(".png")]
    return len(names[0]) - len(".png") if names else 4
