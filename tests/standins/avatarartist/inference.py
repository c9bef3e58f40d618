"""Stand-in for tests, not AvatarArtist: raises after the first picture, its frames written, its videos not.

A frame has the colour (driver's coefficients, driver's motion, source's coefficients), a black square at the driver's
nose, and ten times the seed as its first pixel. A file ``TRAP`` makes it fail.
"""

import argparse
import json
import os
import sys
from datetime import datetime

import faces
import numpy as np
from PIL import Image

parser = argparse.ArgumentParser()
for name in ("target_path", "img_file", "video_name"):
    parser.add_argument("--" + name, required=True)
for name in ("input_img_motion", "input_img_fvid"):
    parser.add_argument("--" + name)
parser.add_argument("--output_basedir", default="./output")
parser.add_argument("--seed", type=int, default=0)
arguments = parser.parse_args()
TRAP = faces.trap()
if not os.path.exists("./pretrained_model"):
    sys.exit("it would fetch its weights here")
open("configs/infer_config.py").close()
if TRAP == "nothing":
    sys.exit(0)

video, data = arguments.video_name, arguments.target_path
root = os.path.join(arguments.output_basedir, f"{datetime.now().date()}", video)
with open(os.path.join(data, "images512x512", "dataset_realcam.json")) as file:
    poses = dict(json.load(file)["labels"])
for item in sorted(os.path.join(arguments.img_file, name) for name in os.listdir(arguments.img_file)):
    stem = os.path.splitext(os.path.basename(item))[0]
    out, combine = (os.path.join(root, stem, kind) for kind in ("out", "combine"))
    os.makedirs(out, exist_ok=True)
    os.makedirs(combine, exist_ok=True)
    np.load(os.path.join(arguments.input_img_motion, stem + ".npy"))
    identity = np.load(os.path.join(arguments.input_img_fvid, stem + ".npy"))
    motions = sorted(os.listdir(os.path.join(data, "motions", video)), key=lambda n: int(n.split(".")[0]))
    for index, name in enumerate(motions):
        if TRAP == "few" and index == 1:
            sys.exit("CUDA out of memory")
        png = name.replace(".npy", ".png")
        driver = np.asarray(Image.open(os.path.join(data, "images512x512", video, png)).resize((512, 512)))
        coefficients = np.load(os.path.join(data, "coeffs", video, name))
        green, *nose = np.load(os.path.join(data, "motions", video, name))
        assert len(poses[os.path.join(video, png)]) == 25
        frame = faces.paint([coefficients[0], green, identity[0]], nose)
        frame[0, 0] = 10 * arguments.seed
        strip = np.hstack((np.asarray(Image.open(item)), driver, frame))
        Image.fromarray(strip).save(os.path.join(combine, f"{index:04d}.png"))
        Image.fromarray(frame).save(os.path.join(out, f"{index:04d}.png"))
    raise NameError("name 'ffmpeg' is not defined")
