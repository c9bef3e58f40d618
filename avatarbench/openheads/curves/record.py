"""Reads the driving clip anew and writes its curves: ``python -m avatarbench.openheads.curves.record [FILE]``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarbench import assets
from avatarbench.datasets.video import Video
from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Frame, Missing
from avatarbench.openheads.curves import ANGLE_STEP, FILE, SCORE_STEP

_TO_WORLD = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # MediaPipe: x right, y up, z to the viewer; ours: z up


def read(indices: Sequence[int] | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Scores (T, 52) in steps of 1/255 and world rotation vectors (T, 3) in steps of 1e-4 radians.

    ``indices``: frames of the clip, all where not given. Raises DataError for a frame without a face, AssetError where
    the clip or the landmarker is not here.
    """
    from scipy.spatial.transform import Rotation

    video, landmarker = Video(assets.path("driving-clip")), FaceLandmarker()
    scores, vectors = [], []
    try:
        for index in range(len(video)) if indices is None else indices:
            found = landmarker.extract([Frame(video.read(index))])[0]
            if isinstance(found, Missing):
                raise DataError(f"frame {index} of {video.path}: {found.reason}. Is it another clip?")
            scores.append(np.rint(found["arkit"] / SCORE_STEP).astype(np.uint8))
            turned = _TO_WORLD @ found["head"][:3, :3].astype(np.float64) @ _TO_WORLD.T
            vectors.append(np.rint(Rotation.from_matrix(turned).as_rotvec() / ANGLE_STEP).astype(np.int16))
    finally:
        landmarker.close()
        video.close()
    return np.stack(scores), np.stack(vectors)


def main() -> None:
    """Write the file that the package carries, or the one named."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name(FILE)
    scores, vectors = read()
    with writing(target) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, arkit=scores, rotation=vectors, fps=np.float64(24000 / 1001))
    print(f"{target}: {len(scores)} frames, {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
