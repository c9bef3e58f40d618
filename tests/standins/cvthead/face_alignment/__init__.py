"""Stand-in for tests, not face-alignment: None where there is no face, as the original."""

import os
import sys
from enum import IntEnum

sys.path.insert(0, os.getcwd())
import faces


class LandmarksType(IntEnum):
    TWO_D = 1


class FaceAlignment:
    made = 0

    def __init__(self, landmarks_type, device="cuda"):
        assert landmarks_type == LandmarksType.TWO_D
        FaceAlignment.made += 1
        assert FaceAlignment.made == 1, "a second detector would take seconds a picture"

    def get_landmarks(self, image):
        points = faces.face(image)
        return None if points is None else [points]
