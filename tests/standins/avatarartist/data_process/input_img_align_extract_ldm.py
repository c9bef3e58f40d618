"""Stand-in for tests, not AvatarArtist: its tracker's folders, smoothing and silences. Frames have to be unpacked.

A file ``TRAP`` at the root makes it lose frame 1's coefficients, as for a face that is too small.
"""

import json
import os
import sys

import numpy as np
from lib.config.config import cfg
from PIL import Image

sys.path.insert(0, os.path.abspath(".."))
import faces

TRAP = faces.trap()
open(cfg.weights).close()
if not cfg.no_extract_frames:
    sys.exit("the stand-in has no video reader: --no_extract_frames")


def folder(*names):
    path = os.path.join(cfg.save_dir, *names)
    os.makedirs(path, exist_ok=True)
    return path


def smoothed(values, sigma):
    """(T, ...): weighted by a Gaussian over frames, the ends mirrored."""
    reach = int(4 * sigma + 0.5)
    padded = np.pad(values, [(reach, reach)] + [(0, 0)] * (values.ndim - 1), "symmetric")
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.array(
        [np.tensordot(weights / weights.sum(), padded[i : i + 2 * reach + 1], 1) for i in range(len(values))]
    )


labels = []
with open(os.path.join(cfg.save_dir, "raw_frames", "valid_imgs.json")) as file:
    videos = json.load(file)
for video, names in videos:
    images = {name: faces.read(os.path.join(cfg.save_dir, "raw_frames", video, name)) for name in names}
    found = {name: faces.face(image).astype(int) for name, image in images.items() if faces.face(image) is not None}
    with open(os.path.join(folder("raw_detections"), video + ".json"), "w") as file:
        json.dump({name: points.tolist() for name, points in found.items()}, file)
    if not found:
        continue
    points = np.array(list(found.values()), float)
    if cfg.is_video:
        points = smoothed(points, 3.0)
    for name, lm in zip(found, points):  # noqa: B905 (strict came with Python 3.10)
        stem, image = name.rsplit(".", 1)[0], images[name]
        h0, w0 = image.shape[:2]
        flipped = lm * [1, -1] + [0, h0 - 1]
        np.savetxt(os.path.join(folder("realign_detections", video), stem + ".txt"), flipped)
        unit, (x, y) = faces.fit(flipped)
        s = 300 / unit
        w, h = int(w0 * s), int(h0 * s)
        left, up = int(w / 2 - 512 + (x - w0 / 2) * s), int(h / 2 - 512 + (h0 / 2 - y) * s)
        large = Image.fromarray(image).resize((w, h), Image.BICUBIC).crop((left, up, left + 1024, up + 1024))
        crop = large.crop((162, 162, 862, 862)).resize((512, 512), Image.LANCZOS)
        crop.save(os.path.join(folder("dataset", "images512x512", video), name))
        red, green, blue = faces.colour(image)
        own = faces.face(image)[2]  # the nose of this frame, in its crop
        nose = (own * [w / w0, h / h0] - [left, up] - 162) * 512 / 700
        np.save(os.path.join(folder("dataset", "motions", video), stem + ".npy"), np.array([green, *nose]))
        if TRAP == "small face" and stem == "1":
            continue
        np.save(os.path.join(folder("dataset", "coeffs", video), stem + ".npy"), np.full(50, red))
        labels.append([f"{video}/{name}", [blue] * 25])
with open(os.path.join(folder("dataset", "images512x512"), "dataset_realcam.json"), "w") as file:
    json.dump({"labels": labels}, file)
