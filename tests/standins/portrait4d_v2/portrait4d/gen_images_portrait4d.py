"""Stand-in for tests, not Portrait4D: all pairs of sources and targets, as JPEG strips of source, prediction, target.

A prediction has the colour (target's expression, target's pose, source's shape) and a black square at the target's
nose. A file ``TRAP`` at the root makes it fail.
"""

import argparse
import os
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..")))
import faces

TRAP = faces.trap()
parser = argparse.ArgumentParser()
parser.add_argument("--network", default="./pretrained_models/portrait4d-v2-vfhq512.pkl")
parser.add_argument("--srcdir", default="./examples")
parser.add_argument("--tardir", default="./examples")
parser.add_argument("--outdir", default="experiments/portrait4d-reenacted")
parser.add_argument("--use_simplified", type=lambda text: text in ("1", "true", "True"), default=False)
arguments = parser.parse_args()
open(arguments.network).close()
if TRAP == "nothing":
    print("it says that all is well")
    sys.exit(0)
PARAMETERS = "bfm2flame_params_simplified" if arguments.use_simplified else "flame_optim_params"


def load(root, folder, name):
    return np.load(os.path.join(root, folder, name.replace(".png", ".npy").replace(".jpg", ".npy")))


os.makedirs(arguments.outdir, exist_ok=True)
targets = sorted(os.listdir(os.path.join(arguments.tardir, "align_images")))
for source in sorted(os.listdir(os.path.join(arguments.srcdir, "align_images"))):
    folder = os.path.join(arguments.outdir, source.replace(".png", "").replace(".jpg", ""))
    os.makedirs(folder, exist_ok=True)
    shape = load(arguments.srcdir, PARAMETERS, source)[25:325]
    for index, target in enumerate(targets):
        if TRAP == "few" and index == 1:
            raise SystemExit("CUDA out of memory")
        motion = load(arguments.tardir, PARAMETERS, target)
        nose = load(arguments.tardir, "3dldmks_align", target)[2]
        prediction = faces.paint([motion[325], motion[425], shape[0]], nose)
        sides = [np.asarray(Image.open(os.path.join(d, "align_images", n)))
                 for d, n in ((arguments.srcdir, source), (arguments.tardir, target))]  # fmt: skip
        strip = np.concatenate([sides[0], prediction, sides[1]], axis=1)
        path = f"{folder}/{index:05d}.jpg"
        Image.fromarray(strip).save(path, quality=95)
        if TRAP == "cut":
            for made in (path, path.replace(".jpg", ".png")):
                with open(made, "r+b") as file:
                    file.truncate(os.path.getsize(made) // 2)
