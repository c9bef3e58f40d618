"""Which points of Anny's surface MediaPipe's landmarks are. Made by ``make_correspondence.py``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Correspondence(NamedTuple):
    """N of the 478 landmarks. ``landmarks`` (N,): their indices; ``faces`` (N,) of Anny's head and ``barycentrics``
    (N, 3): the point of the surface; ``spread`` (N,) metres: how far apart its landings were."""

    landmarks: NDArray[np.int64]
    faces: NDArray[np.int64]
    barycentrics: NDArray[np.float64]
    spread: NDArray[np.float64]


@cache
def load_correspondence() -> Correspondence:
    """The correspondence that ships with the package."""
    with np.load(Path(__file__).with_name("anny_landmarks.npz"), allow_pickle=False) as file:
        weights = file["barycentrics"].astype(np.float64)
        return Correspondence(
            landmarks=file["landmarks"].astype(np.int64),
            faces=file["faces"].astype(np.int64),
            barycentrics=weights / weights.sum(axis=1, keepdims=True),  # they are stored rounded
            spread=file["spread"].astype(np.float64),
        )
