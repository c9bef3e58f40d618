"""MediaPipe's face landmarker over a stream of frames: pixels come and go, the readings stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import DataError
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Frame, Missing
from avatarbench.tracking.track_file import Track

_SHAPES = {"landmarks": (478, 3), "arkit": (52,), "head": (4, 4)}


def track_frames(
    frames: Iterable[NDArray[np.uint8]],
    fps: float = 0.0,
    landmarker: FaceLandmarker | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> Track:
    """Track the largest face of each (H, W, 3) uint8 sRGB frame, in the order of ``frames``, none of which is kept.

    About 6 kB stay of each frame. A frame without a face becomes a row of NaN with its reason, and the next is read as
    if nothing had happened: every frame is looked at by itself. ``on_frame`` is told the number of frames done.
    A ``landmarker`` that is handed in stays open. Raises DataError for no frames and for a frame of another size.
    """
    rows: dict[str, list[NDArray[np.float32]]] = {key: [] for key in _SHAPES}
    faces: list[int] = []
    reasons: list[str] = []
    size: tuple[int, int] | None = None
    detector = landmarker or FaceLandmarker()
    try:
        for number, image in enumerate(frames):
            here = (image.shape[1], image.shape[0])
            size = size or here
            if here != size:
                raise DataError(
                    f"frame {number} is {here[0]} x {here[1]} pixels and the first is {size[0]} x {size[1]}: "
                    "frames of one sequence must have one size. Track them one by one, or scale them."
                )
            seen = detector.extract([Frame(image)])[0]
            for key, shape in _SHAPES.items():
                rows[key].append(
                    np.full(shape, np.nan, np.float32) if isinstance(seen, Missing) else seen[key].astype(np.float32)
                )
            faces.append(0 if isinstance(seen, Missing) else int(seen["faces"].item()))
            reasons.append(seen.reason if isinstance(seen, Missing) else "")
            if on_frame is not None:
                on_frame(number + 1)
    finally:
        if landmarker is None:
            detector.close()
    if size is None:
        raise DataError("there is no frame to track.")
    return Track(
        landmarks=np.stack(rows["landmarks"]),
        arkit=np.stack(rows["arkit"]),
        head=np.stack(rows["head"]),
        found=np.array([not reason for reason in reasons]),
        faces=np.array(faces, np.int32),
        reasons=tuple(reasons),
        size=size,
        fps=fps,
    )
