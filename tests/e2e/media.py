"""Small real inputs: a face, no face, two faces, written as pictures and videos."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
from PIL import Image
from skimage.data import astronaut

FACE = astronaut()[60:260, 130:330]  # (200, 200, 3): one face
NO_FACE = np.full((200, 200, 3), 128, np.uint8)


def two_faces() -> np.ndarray:
    """(256, 512, 3): the astronaut twice, the right one larger."""
    canvas = np.full((256, 512, 3), 90, np.uint8)
    canvas[40:200, 20:180] = np.asarray(Image.fromarray(FACE).resize((160, 160)))
    canvas[:, 240:496] = np.asarray(Image.fromarray(FACE).resize((256, 256)))
    return canvas


def write_image(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def write_video(path: Path, frames: list[np.ndarray], codec: str = "libx264rgb") -> Path:
    """A lossless video: every frame decodes to exactly what went in."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def moving_face(n: int, faceless: tuple[int, ...] = ()) -> list[np.ndarray]:
    """The face drifting a pixel a frame over a grey ground; ``faceless`` frames show the ground alone."""
    frames = []
    for i in range(n):
        canvas = np.full((240, 240 + n + n % 2, 3), 128, np.uint8)
        if i not in faceless:
            canvas[20:220, 10 + i : 210 + i] = FACE
        frames.append(canvas)
    return frames
