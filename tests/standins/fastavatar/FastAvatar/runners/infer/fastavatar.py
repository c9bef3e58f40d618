"""Stand-in for tests, not FastAvatar: its arguments, folders and traps, with squares for Gaussians.

A frame is 512 pixels, white; a square stands where FLAME's translation projects to, coloured by expr[0], jaw_pose[0]
and the driver's canonical shape[0]; another in the lower left has the source's mean colour. A file ``TRAP`` at the root
makes it fail.
"""

import argparse
import json
import os
from glob import glob
from pathlib import Path

import numpy as np
from PIL import Image

TRAP = Path("TRAP").read_text().strip() if Path("TRAP").exists() else ""
PROCESSED = "infer_results/processed_data"


class FastAvatarInferrer:
    def __init__(self, arguments):
        parser = argparse.ArgumentParser()
        parser.add_argument("--config")
        known, rest = parser.parse_known_args(arguments)
        open(known.config).close()
        self.cfg = dict(word.split("=", 1) for word in rest)
        assert self.cfg["export_video"] == "true"
        assert self.cfg["mode"] in ("Monocular", "MultiView")
        open(os.path.join(self.cfg["model_name"], "model.safetensors")).close()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        pass

    def run(self):
        self.infer()

    def save_imgs_2_video(self, img_lst, v_pth, fps):
        from moviepy.editor import ImageSequenceClip

        ImageSequenceClip(list(img_lst), fps=fps).write_videofile(v_pth, codec="libx264")

    def track(self, folder):
        """A tracked picture a folder, added to those that are there."""
        files = sorted(glob(os.path.join(folder, "*.png")))
        assert files, "flametracking preprocess failed!"
        for index, path in enumerate(files[: int(self.cfg["inference_N_frames"])]):
            image = np.asarray(Image.open(path).convert("RGB"))
            assert image.std() > 1, "flametracking preprocess failed!"
            if TRAP == "silent":  # a frame whose processing fails is left out
                continue
            place = os.path.join(PROCESSED, f"{index + 10:05d}")
            os.makedirs(place, exist_ok=True)
            np.save(os.path.join(place, "rgb.npy"), image.reshape(-1, 3).mean(0))

    def infer(self):
        self.track(self.cfg["image_input"])
        os.makedirs(PROCESSED, exist_ok=True)
        tracked = sorted(name for name in os.listdir(PROCESSED) if name.isdigit())
        if not tracked:
            print(f"No frame directories found in {PROCESSED}")
            return  # the trap: exit code 0, and nothing came out
        source = np.round(np.load(os.path.join(PROCESSED, tracked[0], "rgb.npy"))).astype(np.uint8)
        frames = render(os.path.dirname(self.cfg["motion_seqs_dir"]), source)
        os.makedirs("infer_results/videos", exist_ok=True)
        name = os.path.basename(self.cfg["image_input"])
        self.save_imgs_2_video(np.array(frames), f"infer_results/videos/{name}.mp4", int(self.cfg["render_fps"]))


def render(folder, source):
    shape = np.load(os.path.join(folder, "canonical_flame_param.npz"))["shape"].reshape(-1)[0]
    with open(os.path.join(folder, "transforms.json")) as file:
        all_frames = sorted(json.load(file)["frames"], key=lambda frame: frame["flame_param_path"])
    pictures = []
    for frame in all_frames:
        flame = np.load(os.path.join(folder, frame["flame_param_path"]))
        pose = np.array(frame["transform_matrix"])
        pose[:3, 1:3] *= -1
        at = np.linalg.inv(pose) @ [*flame["translation"][0], 1]
        u = frame["fl_x"] * 0.5 * at[0] / at[2] + 256  # by the angle of view: the principal point is not asked
        v = frame["fl_y"] * 0.5 * at[1] / at[2] + 256
        picture = np.full((512, 512, 3), 255, np.uint8)
        picture[390:470, 40:120] = source
        colour = code(flame["expr"][0, 0]), code(flame["jaw_pose"][0, 0]), code(shape)
        picture[max(round(v) - 12, 0) : round(v) + 12, max(round(u) - 12, 0) : round(u) + 12] = colour
        pictures.append(picture)
    return pictures


def code(value):
    return int(np.clip(round(100 + 100 * float(value)), 0, 250))
