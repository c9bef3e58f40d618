"""Stand-in for tests, not Portrait4D: ``python bfm2flame_simplified.py --input_dir=DIR --save_dir=DIR``."""

import argparse
import os

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--input_dir", default="")
parser.add_argument("--save_dir", default="")
arguments = parser.parse_args()
folder = os.path.join(arguments.save_dir, "bfm2flame_params_simplified")
os.makedirs(folder, exist_ok=True)
for name in sorted(os.listdir(os.path.join(arguments.input_dir, "bfm_params"))):
    bfm = np.load(os.path.join(arguments.input_dir, "bfm_params", name), allow_pickle=True).item()
    camera = np.zeros(25)
    camera[[16, 20]] = 1 / (2 * np.tan(np.pi / 30))
    flame = [np.zeros(300), np.zeros(100), np.zeros(3), np.zeros(3), np.zeros(6)]
    for values, key in zip(flame, ("id", "exp", "angle")):  # noqa: B905 (strict came with Python 3.10)
        values[0] = bfm[key][0, 0]
    np.save(os.path.join(folder, name), np.concatenate([camera, *flame]).astype(np.float32))
