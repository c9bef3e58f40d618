"""What was tracked, drawn over the picture: landmarks, the head's axes, the fitted mesh, the error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from avatarbench.files import writing
from avatarbench.method import FaceTrack
from avatarbench.metrics.rotations import nearest_rotation
from avatarbench.tracking.anny_fit import EYES, AnnyFit
from avatarbench.tracking.face_model import face_model

Picture = NDArray[np.uint8]
_LANDMARK, _MESH, _TEXT, _BACK = (70, 255, 70), (90, 180, 255), (255, 255, 255), (0, 0, 0)
_AXES = ((255, 60, 60), (60, 220, 60), (80, 110, 255))  # x to the subject's left, y up, z out of the face
_BETWEEN_EYES = 168
_SUB = 4  # bits of a pixel's fraction that cv2 draws with


def draw(image: Picture, face: FaceTrack | None, fit: AnnyFit | None = None, label: str = "") -> Picture:
    """A copy of (H, W, 3) uint8 sRGB with what is known of its face, and ``label`` in a corner."""
    canvas = np.ascontiguousarray(image).copy()
    scale = max(image.shape[:2]) / 512
    if fit is not None:
        mesh = canvas.copy()
        lines = [np.rint(t * (1 << _SUB)).astype(np.int32) for t in _front_triangles(fit)]
        cv2.polylines(mesh, lines, True, _MESH, 1, cv2.LINE_AA, _SUB)
        canvas = np.asarray(cv2.addWeighted(mesh, 0.45, canvas, 0.55, 0), np.uint8)
    if face is not None:
        radius = max(1, round(0.8 * scale))
        for x, y in face.landmarks[:, :2]:
            if np.isfinite([x, y]).all():
                cv2.circle(canvas, (round(float(x)), round(float(y))), radius, _LANDMARK, -1, cv2.LINE_AA)
        _draw_axes(canvas, face, max(1, round(2 * scale)))
    if label:
        canvas = _written(canvas, label, max(11, round(13 * scale)))
    return canvas


def write_video(
    path: Path, pictures: Iterable[Picture], fps: float, on_frame: Callable[[int], None] | None = None
) -> None:
    """H.264 of pictures of one size, made and forgotten one by one; an odd last row or column is left out.

    ``fps``: also NTSC's, such as 30000 / 1001. The whole file or nothing. Raises OSError where it cannot be written.
    """
    rate = max(Fraction(1, 1001), Fraction(fps).limit_denominator(1001))
    with writing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast"})
        for number, picture in enumerate(pictures):
            height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
            if number == 0:
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
            container.mux(stream.encode(frame))
            if on_frame is not None:
                on_frame(number + 1)
        container.mux(stream.encode())


def _front_triangles(fit: AnnyFit) -> NDArray[np.float64]:
    """(M, 3, 2) pixels of the triangles that face the camera and lie before it."""
    camera = fit.camera
    seen = fit.vertices().astype(np.float64) @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
    pixels = (seen @ camera.K.T)[:, :2] / np.maximum(seen[:, 2:], 1e-6)
    triangles = face_model().rig.faces.numpy()
    flat, before = pixels[triangles], (seen[triangles][..., 2] > 0.01).all(axis=1)
    a, b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    facing = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] < 0  # counter-clockwise from outside, and y points down
    return np.asarray(flat[before & facing])


def _written(canvas: Picture, label: str, size: int) -> Picture:
    """White text on a black bar in the upper left corner."""
    image = Image.fromarray(canvas)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    box = pen.textbbox((size // 2, size // 3), label, font=font)
    pen.rectangle((0, 0, box[2] + size // 2, box[3] + size // 3), fill=_BACK)
    pen.text((size // 2, size // 3), label, fill=_TEXT, font=font)
    return np.asarray(image)


def _draw_axes(canvas: Picture, face: FaceTrack, width: int) -> None:
    start = face.landmarks[_BETWEEN_EYES, :2]
    length = 0.6 * float(np.linalg.norm(np.subtract(*face.landmarks[list(EYES), :2])))
    rotation = nearest_rotation(face.head[:3, :3])
    for axis, colour in enumerate(_AXES):
        end = start + length * rotation[:2, axis] * (1, -1)
        points = [(round(float(p[0])), round(float(p[1]))) for p in (start, end)]
        cv2.arrowedLine(canvas, points[0], points[1], colour, width, cv2.LINE_AA, tipLength=0.15)
