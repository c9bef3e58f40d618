"""``track.npz``: what the landmarker read off every frame of an image, a video or a folder of frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import DataError
from avatarbench.files import writing
from avatarbench.method import FaceTrack
from avatarbench.metrics.face import ARKIT_NAMES
from avatarbench.npz import read_npz


@dataclass(frozen=True)
class Track:
    """T frames in temporal order. A frame without a face is NaN in every array, ``found`` False, and has a reason.

    ``landmarks`` (T, 478, 3), ``arkit`` (T, 52) and ``head`` (T, 4, 4) float32 as in :class:`FaceTrack`; ``found`` (T,)
    bool; ``faces`` (T,) int32, how many faces were seen; ``reasons``: T strings, empty where a face was found;
    ``size``: width and height in pixels; ``fps``: 0 where there is no such thing.
    """

    landmarks: NDArray[np.float32]
    arkit: NDArray[np.float32]
    head: NDArray[np.float32]
    found: NDArray[np.bool_]
    faces: NDArray[np.int32]
    reasons: tuple[str, ...]
    size: tuple[int, int]
    fps: float = 0.0

    def __len__(self) -> int:
        return len(self.found)

    def face(self, index: int) -> FaceTrack | None:
        """One frame, or None where no face was found."""
        if not self.found[index]:
            return None
        return FaceTrack(self.landmarks[index], self.arkit[index], self.head[index], int(self.faces[index]))

    def save(self, path: Path) -> None:
        """Write the whole file or nothing. Raises OSError."""
        with writing(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                landmarks=self.landmarks,
                arkit=self.arkit,
                head=self.head,
                found=self.found,
                faces=self.faces,
                reasons=np.array(self.reasons, np.str_),
                arkit_names=np.array(ARKIT_NAMES, np.str_),
                fps=np.float64(self.fps),
                size=np.array(self.size, np.int32),
            )


def load_track(path: Path | str) -> Track:
    """Read what :meth:`Track.save` wrote. Raises DataError naming the file and the key that is missing or misshapen."""
    path = Path(path)
    arrays = read_npz(path, "run avatarbench track again")
    frames = arrays["found"].size if "found" in arrays else 0
    shapes: dict[str, tuple[int, ...]] = {
        "landmarks": (frames, 478, 3),
        "arkit": (frames, 52),
        "head": (frames, 4, 4),
        "found": (frames,),
        "faces": (frames,),
        "reasons": (frames,),
        "arkit_names": (52,),
        "fps": (),
        "size": (2,),
    }
    for key, shape in shapes.items():
        if key not in arrays:
            raise DataError(f"{path} has no '{key}': it is not a track of this version; run avatarbench track again.")
        if arrays[key].shape != shape:
            raise DataError(f"{path} has '{key}' of shape {arrays[key].shape}, where {shape} is expected.")
    if tuple(arrays["arkit_names"].tolist()) != ARKIT_NAMES:
        raise DataError(f"{path} orders its 52 coefficients in another way: run avatarbench track again.")
    return Track(
        landmarks=arrays["landmarks"],
        arkit=arrays["arkit"],
        head=arrays["head"],
        found=arrays["found"].astype(bool),
        faces=arrays["faces"],
        reasons=tuple(map(str, arrays["reasons"].tolist())),
        size=(int(arrays["size"][0]), int(arrays["size"][1])),
        fps=float(arrays["fps"]),
    )
