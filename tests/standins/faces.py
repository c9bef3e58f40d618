"""A face detector for stand-ins, of tests alone: whatever differs from the picture's corner is the face.

Copied to ``faces.py`` at the root of the stand-ins that need it. Coordinates: pixel corners at whole numbers, y down.
"""

import os

import numpy as np
from PIL import Image

HEAD = np.array(
    [
        [-0.31148657, 0.19036078, 0.53377953],
        [0.30979887, 0.18972035, 0.53179526],
        [0.0032535, -0.14617933, 0.95244243],
        [-0.25216928, -0.4813392, 0.62405732],
        [0.2484662, -0.4812824, 0.62235769],
    ]
)


def trap():
    """What the file ``TRAP`` at the stand-in's root says: how it is to fail."""
    path = os.path.join(os.path.dirname(os.path.realpath(__file__)), "TRAP")
    if not os.path.exists(path):
        return ""
    with open(path) as file:
        return file.read().strip()


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def face(image):
    """The face's five points (5, 2), or None: the standard head seen from the front, as large as what differs."""
    differs = np.abs(image.astype(int) - image[0, 0].astype(int)).sum(-1) > 60
    if differs.sum() < 50:
        return None
    y, x = np.nonzero(differs)
    unit = 0.5 * np.sqrt(differs.sum())
    return np.array([x.mean() + 0.5, y.mean() + 0.5]) + HEAD[:, :2] * [unit, -unit]


def colour(image):
    """The mean colour of the face, (3,) in [0, 1]."""
    differs = np.abs(image.astype(int) - image[0, 0].astype(int)).sum(-1) > 60
    return image[differs].mean(0) / 255


def fit(points):
    """Scale and middle of the standard head in five points, y up."""
    A = np.zeros((10, 8))
    A[0::2, 0:3] = A[1::2, 4:7] = HEAD
    A[0::2, 3] = A[1::2, 7] = 1
    k = np.linalg.lstsq(A, points.reshape(10), rcond=None)[0]
    return (np.linalg.norm(k[0:3]) + np.linalg.norm(k[4:7])) / 2, k[[3, 7]]


def paint(colour, nose, size=512):
    """A picture of one colour (3,) in [0, 1] with a black square about the nose (x, y)."""
    picture = np.empty((size, size, 3), np.uint8)
    picture[:] = np.round(np.clip(colour, 0, 1) * 255)
    x, y = (round(float(v)) for v in nose)
    picture[max(0, y - 24) : y + 24, max(0, x - 24) : x + 24] = 0
    return picture
