"""Portrait4D-v2 in its own environment: its three steps, one source and its drivers a job."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from typing import Any

import aligned
import numpy as np
import shim_tools
import worker

NETWORK = "portrait4d-v2-vfhq512.pkl"
SIDE = 512
PREDICTION = 1
"""A strip is source, prediction, driver."""
NO_FACE = "NoneType"
"""In what preprocess_dir.py prints where its detector finds nothing: an unpacked None."""


class Shim:
    """``options``: ``repo``, ``weight_files``, ``device``, ``timeout`` (seconds of one step)."""

    def __init__(self, options: dict[str, Any], job: str) -> None:
        self._repo, self._network = options["repo"], options["weight_files"][NETWORK]
        if options["device"].startswith("cuda:"):  # its scripts know the first device only
            os.environ["CUDA_VISIBLE_DEVICES"] = options["device"][len("cuda:") :]
        self._timeout = float(options["timeout"])
        self._job = job
        self._folder = ""
        self._jobs = 0
        self._results: dict[str, tuple[str, aligned.Aligned]] = {}
        self._lost: dict[str, Exception] = {}

    def build(self, portrait: dict[str, Any]) -> dict[str, float]:
        """Crops and tracks the source. It is looked up by nothing but its file, so that nothing old can be found."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = os.path.join(self._job, "portrait_" + shim_tools.unique_names(1)[0])
        self._results, self._lost = {}, {}
        crops, lost = self._track("source", [portrait["image"]])
        if not crops:
            raise lost[0]
        return {}

    def announce(self, motions: Sequence[dict[str, Any]]) -> None:
        """Renders all frames in one job: the scripts load their networks anew each time."""
        self._jobs += 1
        drivers = f"drivers_{self._jobs}"
        crops, lost = self._track(drivers, [motion["image"] for motion in motions])
        self._lost.update({motions[place]["id"]: error for place, error in lost.items()})
        if not crops:
            return
        out = os.path.join(self._folder, f"out_{self._jobs}")
        place = os.path.join(self._repo, "portrait4d")
        command = ["python", self._beside("keep.py"), out, "gen_images_portrait4d.py", "--network=" + self._network]
        command += ["--srcdir=" + os.path.join(self._folder, "source"), "--outdir=" + out, "--use_simplified=1"]
        command += ["--tardir=" + os.path.join(self._folder, drivers)]
        done = self._run(command, place, [out])
        strips = os.path.join(out, _name(0))
        for number, (index, crop) in enumerate(sorted(crops.items())):
            name = motions[index]["id"]
            try:
                found = shim_tools.harvest(strips, f"{number:05d}.png", 1, done, (3 * SIDE, SIDE))
            except shim_tools.ShimError as error:
                self._lost[name] = error
            else:
                self._results[name] = (found[0], crop)

    def render(self, motion: dict[str, Any]) -> np.ndarray:
        """(H, W, 4) uint8 in the frame of the driver's picture; nothing is there where its own square ends."""
        name = motion["id"]
        if name not in self._results and name not in self._lost:
            self.announce([motion])
        if name in self._lost:
            raise self._lost[name]
        path, crop = self._results[name]
        picture = shim_tools.split_strip(shim_tools.read_image(path), 3, 1, PREDICTION)
        height, width = motion["image"].shape[:2]
        return aligned.back(picture, crop, (width, height))

    def _track(
        self, name: str, images: Sequence[np.ndarray]
    ) -> tuple[dict[int, aligned.Aligned], dict[int, Exception]]:
        """Steps one and two: where each picture was cut, and which could not be, by its place in ``images``.

        preprocess_dir.py returns silently, exit code 0, at the first picture in which it finds no face: the rest is
        given to it again.
        """
        save = os.path.join(self._folder, name)
        place = os.path.join(self._repo, "data_preprocess")
        crops: dict[int, aligned.Aligned] = {}
        lost: dict[int, Exception] = {}
        waiting = list(range(len(images)))
        while waiting:
            folder = f"{save}_from_{waiting[0]}"
            for index in waiting:
                shim_tools.write_image(os.path.join(folder, _name(index) + ".png"), images[index])
            kept = os.path.join(folder, "kept")
            os.makedirs(kept)
            command = ["python", self._beside("keep.py"), kept, "preprocess_dir.py"]
            done = self._run([*command, "--input_dir=" + folder, "--save_dir=" + save], place, [save])
            squares = _crops(os.path.join(kept, "crops.jsonl"))
            through = [i for place_, i in enumerate(waiting) if place_ in squares and self._whole(save, i)]
            crops.update({index: squares[waiting.index(index)] for index in through})
            left = [index for index in waiting if index not in through]
            if not left:
                break
            if done.code or (not through and NO_FACE not in done.tail):
                raise shim_tools.ShimError("preprocess_dir.py stopped for another reason than a face: " + done.ended())
            lost[left[0]] = worker.Unscorable("its own detector found no face, or none that it could crop")
            waiting = [index for index in left if index > left[0]]
        if crops:
            command = ["python", "bfm2flame_simplified.py", "--input_dir=" + save, "--save_dir=" + save]
            done = self._run(command, place, [save])
            flame = os.path.join(save, "bfm2flame_params_simplified")
            missing = [i for i in crops if not os.path.isfile(os.path.join(flame, _name(i) + ".npy"))]
            if missing:
                raise shim_tools.ShimError(f"{len(missing)} pictures got no FLAME parameters: {done.ended()}")
        return crops, lost

    def _whole(self, save: str, index: int) -> bool:
        """Whether everything that the next steps read of a picture is there."""
        files = [os.path.join(save, folder, _name(index) + ".npy") for folder in ("bfm_params", "3dldmks_align")]
        files.append(os.path.join(save, "align_images", _name(index) + ".png"))
        return all(os.path.isfile(path) and os.path.getsize(path) for path in files)

    def _run(self, command: list[str], place: str, watch: list[str]) -> shim_tools.CommandResult:
        log = os.path.join(self._folder, "log.txt")
        return shim_tools.run(command, place, log, self._timeout, worker.say, watch)

    def _beside(self, name: str) -> str:
        return os.path.join(os.path.dirname(os.path.abspath(__file__)), name)


def _name(index: int) -> str:
    """Sorts as the frames are ordered: the results are numbered by the sorted names."""
    return f"{index:06d}"


def _crops(path: str) -> dict[int, aligned.Aligned]:
    found = {}
    if os.path.isfile(path):
        with open(path) as file:
            for line in file:
                entry = json.loads(line)
                width, height, scale, x, y = entry["crop"]
                found[entry["index"]] = aligned.aligned((int(width), int(height)), scale, (x, y), SIDE)
    return found
