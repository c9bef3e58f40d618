"""Stand-in for tests, not LAM: its arguments, folders, file names and traps, with squares for Gaussians.

A frame is white; a square stands where FLAME's translation projects to, coloured by expr[0], jaw_pose[0] and the
tracked shape[0]; another in the lower left has the source's mean colour. A file ``TRAP`` at the root makes it fail.
"""

import argparse
import json
import os
import traceback
import wave
from glob import glob
from pathlib import Path

import numpy as np
from PIL import Image

TRAP = Path("TRAP").read_text().strip() if Path("TRAP").exists() else ""


class LAMInferrer:
    def __init__(self, arguments):
        parser = argparse.ArgumentParser()
        parser.add_argument("--config")
        known, rest = parser.parse_known_args(arguments)
        open(known.config).close()
        self.cfg = dict(word.split("=", 1) for word in rest)
        assert self.cfg["export_video"] == "true"
        open(os.path.join(self.cfg["model_name"], "model.safetensors")).close()
        assert os.path.exists("./pretrain_model/68_keypoints_model.pkl"), "68_keypoints_model.pkl does not exist!"

    def __enter__(self):
        return self

    def __exit__(self, *what):
        pass

    def run(self):
        self.infer()

    def track(self, path, root="tracking_output"):
        """Preprocess, optimise, export; the export is of the tracking whose folder sorts last, whosever it is."""
        stem = os.path.splitext(os.path.basename(path))[0]
        image = np.asarray(Image.open(path).convert("RGB"))
        assert image.std() > 1, "flametracking preprocess failed!"
        folder = os.path.join(root, "tracking", "2000-01-01")
        os.makedirs(folder, exist_ok=True)
        tracked = {"colour": image.reshape(-1, 3).mean(0).tolist(), "shape": float(image.std() / 128)}
        with open(os.path.join(folder, "config.yml"), "w") as file:
            json.dump(tracked, file)
        last = sorted(os.listdir(os.path.join(root, "tracking")))[-1]
        with open(os.path.join(root, "tracking", last, "config.yml")) as file:
            tracked = json.load(file)
        export = os.path.join(root, "export", stem)
        os.makedirs(os.path.join(export, "images"), exist_ok=True)
        plain = np.tile(np.round(tracked["colour"]).astype(np.uint8), (64, 64, 1))
        Image.fromarray(plain).save(os.path.join(export, "images", "00000_00.png"))
        np.savez(os.path.join(export, "canonical_flame_param.npz"), shape=np.full(300, tracked["shape"]))
        return export

    def infer(self):
        given = self.cfg["image_input"]
        paths = [given] if os.path.isfile(given) else glob(os.path.join(given, "*.jpg"))
        for path in paths:
            try:
                path = os.path.join(self.track(path), "images/00000_00.png")
                uid = os.path.basename(os.path.dirname(os.path.dirname(path)))
                folder = os.path.join(self.cfg["image_dump"], "", uid)
                os.makedirs(folder, exist_ok=True)
                self.infer_single(path, self.cfg["motion_seqs_dir"], folder, self.cfg["video_dump"])
            except:  # noqa: E722  the trap: whatever happens, the exit code is 0
                traceback.print_exc()

    def infer_single(self, path, motion, folder, videos):
        if TRAP == "raise":
            raise RuntimeError("CUDA error: out of memory")
        shape = np.load(os.path.join(os.path.dirname(os.path.dirname(path)), "canonical_flame_param.npz"))["shape"]
        source = np.asarray(Image.open(path))[0, 0]
        frames = render(os.path.dirname(motion), source, float(shape[0]))
        os.makedirs(videos, exist_ok=True)
        np.save(os.path.join(videos, "video.npy"), np.zeros(1))  # in the place of an H.264 video
        wave.open(os.path.join(motion, motion.strip("/").split("/")[-1] + ".wav"), "rb").close()
        if self.cfg.get("save_img") != "true":
            return
        for index, frame in enumerate(frames[: len(frames) - (TRAP == "few")]):
            Image.fromarray(frame).save(os.path.join(folder, f"{index:04d}.png"))
        os.makedirs("./exps/cano_gs/", exist_ok=True)
        open("./exps/cano_gs/" + os.path.basename(folder) + "_gs_offset.ply", "w").close()


def render(folder, source, shape):
    with open(os.path.join(folder, "transforms.json")) as file:
        all_frames = sorted(json.load(file)["frames"], key=lambda frame: frame["flame_param_path"])
    pictures = []
    height, width = int(all_frames[0]["cy"] * 0.5 * 2), int(all_frames[0]["cx"] * 0.5 * 2)
    for frame in all_frames:
        flame = np.load(os.path.join(folder, frame["flame_param_path"]))
        pose = np.array(frame["transform_matrix"])
        pose[:3, 1:3] *= -1
        at = np.linalg.inv(pose) @ [*flame["translation"][0], 1]
        u = frame["fl_x"] * 0.5 * at[0] / at[2] + width / 2  # by the angle of view: the principal point is not asked
        v = frame["fl_y"] * 0.5 * at[1] / at[2] + height / 2
        colour = code(flame["expr"][0, 0]), code(flame["jaw_pose"][0, 0]), code(shape)
        picture = np.full((height, width, 3), 255, np.uint8)
        picture[390:470, 40:120] = source
        picture[max(round(v) - 12, 0) : round(v) + 12, max(round(u) - 12, 0) : round(u) + 12] = colour
        pictures.append(picture)
    return pictures


def code(value):
    return int(np.clip(round(100 + 100 * float(value)), 0, 250))
