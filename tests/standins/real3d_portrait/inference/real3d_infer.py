"""Stand-in for tests, not Real3D-Portrait: temporary files of fixed names in its working directory, and its defaults.

A frame has the colour (driver's red, 1 where the pose was mapped to the first, source's blue) and a black square at
the driver's nose. Fewer than three frames are black: their fit is the mean of nothing. A file ``TRAP`` makes it fail.
"""

import argparse
import os
import shutil
import sys
import time

import imageio
import numpy as np
from inference.infer_utils import read_video
from PIL import Image

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
import faces

TRAP = faces.trap()
parser = argparse.ArgumentParser()
for name, default in {
    "torso_ckpt": "checkpoints/240210_real3dportrait_orig/secc2plane_torso_orig",
    "src_img": "", "drv_aud": "", "drv_pose": "static", "blink_mode": "period", "out_name": "",
    "out_mode": "concat_debug", "map_to_init_pose": "True", "seed": None, "min_face_area_percent": "0.2",
}.items():  # fmt: skip
    parser.add_argument("--" + name, default=default)
arguments = parser.parse_args()
open(os.path.join(arguments.torso_ckpt, "config.yaml")).close()
os.makedirs("infer_out/tmp", exist_ok=True)
os.system(f"cp {arguments.src_img} infer_out/tmp/cropped_src_img.png")
time.sleep(0.05)
source = faces.read("infer_out/tmp/cropped_src_img.png")
drivers = read_video(arguments.drv_aud)
poses = read_video(arguments.drv_pose)
found = [faces.face(frame) for frame in drivers]
assert all(points is not None for points in found), "bool object has no attribute items"
seed = time.time_ns() if arguments.seed is None else int(arguments.seed)
if TRAP == "nothing":
    sys.exit(0)

writer = imageio.get_writer("demo.mp4", fps=25, format="FFMPEG", codec="h264")
for index, (frame, pose) in enumerate(zip(drivers, poses)):  # noqa: B905 (strict came with Python 3.10)
    if TRAP == "few" and index == 1:
        sys.exit("CUDA out of memory")
    mapped = arguments.map_to_init_pose in ("True", True)
    scale = 512 / frame.shape[0]
    picture = faces.paint([faces.colour(frame)[0], mapped, faces.colour(source)[2]], faces.face(pose)[2] * scale)
    if arguments.blink_mode == "period":
        picture[: np.random.default_rng(seed).integers(512)] = 255
    if len(drivers) < 3:
        picture[:] = 0
    if arguments.out_mode == "concat_debug":
        picture = np.concatenate([np.asarray(Image.fromarray(source).resize((512, 512))), picture], axis=1)
    writer.append_data(picture)
writer.close()
shutil.move("demo.mp4", arguments.out_name)
