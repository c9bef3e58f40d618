"""Stand-in for tests, not Portrait4D: the crop, by five points with y up; its place in the picture is not stored."""

import os
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..")))
import faces


def align_img_bfm(img, lm, ldmk, ldmk_3d, target_size=224.0, rescale_factor=102.0, index=-1, use_smooth=False):
    unit, (x, y) = faces.fit(lm)
    s = rescale_factor / unit
    w0, h0 = img.size
    w, h = int(w0 * s), int(h0 * s)
    left = int(w / 2 - target_size / 2 + (x - w0 / 2) * s)
    up = int(h / 2 - target_size / 2 + (h0 / 2 - y) * s)
    border = max(0, -left, -up, left + int(target_size) - w, up + int(target_size) - h)
    padded = np.pad(np.asarray(img.resize((w, h), Image.LANCZOS)), ((border, border), (border, border), (0, 0)), "edge")
    side = int(target_size)
    crop = Image.fromarray(padded[up + border : up + border + side, left + border : left + border + side])

    def moved(points):
        return (points - [x, y] + [w0 / 2, h0 / 2]) * s - [w / 2 - target_size / 2, h / 2 - target_size / 2]

    return np.array([w0, h0, s, x, y]), crop, moved(lm), moved(ldmk), moved(ldmk_3d)
