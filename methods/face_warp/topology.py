"""Which of MediaPipe's 478 landmarks make up the skin, the eye openings and the mouth opening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LANDMARKS = 478


@dataclass(frozen=True)
class Opening:
    """A hole in the skin between two rows of landmarks, ordered alike from corner to corner."""

    corners: tuple[int, int]
    upper: tuple[int, ...]
    lower: tuple[int, ...]


EYES = (
    Opening((33, 133), (246, 161, 160, 159, 158, 157, 173), (7, 163, 144, 145, 153, 154, 155)),
    Opening((362, 263), (398, 384, 385, 386, 387, 388, 466), (382, 381, 380, 374, 373, 390, 249)),
)
PUPILS = (468, 473)
"""The centre of the iris of each of :data:`EYES`."""

MOUTH = Opening((78, 308), (191, 80, 81, 82, 13, 312, 311, 310, 415), (95, 88, 178, 87, 14, 317, 402, 318, 324))
LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
"""The outer edge of the lips, in order around."""

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The rim of the landmarks, in order around: hairline, temples, jaw, chin."""

SKULL = (
    *(10, 151, 9, 8, 168, 6, 197, 195, 5, 4, 1, 33, 133, 362, 263, 127, 234, 93, 356, 454, 323),
    *(54, 284, 103, 332, 67, 297, 109, 338, 50, 280, 101, 330),
)
"""Landmarks that expressions move little: the head's rigid motion is read off these."""


def skin_triangles() -> NDArray[np.int64]:
    """(852, 3) indices of MediaPipe's face tessellation, which leaves the eyes and the mouth open.

    MediaPipe publishes edges, three a triangle. Raises RuntimeError where a later MediaPipe orders them otherwise.
    """
    from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarksConnections

    edges = np.array([(e.start, e.end) for e in FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION])
    triples = edges.reshape(-1, 3, 2)
    if not np.array_equal(triples[:, :, 1], np.roll(triples[:, :, 0], -1, axis=1)):
        raise RuntimeError("this MediaPipe lists its face tessellation otherwise than in closed triangles: use 1.2.2")
    return triples[:, :, 0]
