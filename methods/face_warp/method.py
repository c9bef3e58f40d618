"""The face-warp baseline: a portrait's triangles moved onto the driver's landmarks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import Unscorable
from avatarbench.method import FaceTrack, Motion, Portrait

from .openings import eye, mouth
from .raster import inverse_map
from .surround import Surround, head_motion
from .topology import LANDMARKS, LIPS, skin_triangles


class FaceWarp:
    """Builds warps of portraits. It has no parameters and learns nothing."""

    def build(self, portrait: Portrait) -> WarpedPortrait:
        """Raises Unscorable where no face was found in the portrait."""
        return WarpedPortrait(portrait.image, _landmarks(portrait.face, "portrait"))


class WarpedPortrait:
    """One portrait, (H, W, 3) uint8, with its (478, 3) landmarks in pixel-centre coordinates."""

    def __init__(self, image: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> None:
        self.image = image
        self.landmarks = landmarks
        self._skin = skin_triangles()
        self._surround = Surround(landmarks, image.shape[:2])
        self._dark = _mouth_colour(image, landmarks[list(LIPS), :2])

    def render(self, motion: Motion) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 in the portrait's size. Raises Unscorable where the driver has no face."""
        where, dark = self.map(_landmarks(motion.face, "driver"))
        x, y = cv2.split(where)
        warped = np.asarray(cv2.remap(self.image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.uint8)
        y, x = np.nonzero(dark)
        weight = dark[y, x, None]
        warped[y, x] = np.rint(warped[y, x] * (1 - weight) + self._dark * weight).astype(np.uint8)
        return warped

    def map(self, driven: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """For (478, 3) landmarks: where every output pixel comes from, (H, W, 2), and how dark it is, (H, W).

        Drawn from far to near: the surround, what shows through eyes and mouth, the skin by depth, so that a turned
        head's near side covers its far side.
        """
        motion = head_motion(self.landmarks, driven)
        flat, flat_driven = self.landmarks[:, :2], driven[:, :2]
        patches = [eye(flat, flat_driven, motion.scale, i) for i in (0, 1)] + [mouth(flat, flat_driven, motion.scale)]
        sources = [flat, self._surround.source, *(p.source for p in patches)]
        targets = [flat_driven, self._surround.under(driven, motion), *(p.target for p in patches)]
        starts = np.cumsum([len(s) for s in sources])
        shade = np.concatenate([np.zeros(starts[1]), *(p.shade for p in patches)])
        skin = self._skin[np.argsort(-driven[self._skin, 2].mean(axis=1), kind="stable")]
        needle = _heights(flat_driven[skin]) < 0.5
        drawn = np.concatenate(
            [
                # The filler gives a triangle each pixel that it touches: needles must not take their neighbours'.
                skin[needle],
                self._surround.triangles + starts[0],
                *(p.triangles + start for p, start in zip(patches, starts[1:], strict=False)),
                skin[~needle],
            ]
        )
        return inverse_map(np.concatenate(sources), np.concatenate(targets), drawn, shade, self.image.shape[:2])


def _landmarks(face: FaceTrack | None, of: str) -> NDArray[np.float64]:
    """(478, 3) with whole numbers at pixel centres, where MediaPipe has halves."""
    if face is None:
        raise Unscorable(f"no face found in the {of}")
    if face.landmarks.shape != (LANDMARKS, 3) or not np.isfinite(face.landmarks).all():
        raise Unscorable(f"the {of}'s landmarks are {face.landmarks.shape} or not finite, not ({LANDMARKS}, 3)")
    return face.landmarks.astype(np.float64) - np.array([0.5, 0.5, 0.0])


def _heights(triangles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,): the least height of (T, 3, 2) triangles."""
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    longest = np.linalg.norm(triangles - np.roll(triangles, 1, axis=1), axis=2).max(axis=1)
    return np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / np.maximum(longest, 1e-9)


def _mouth_colour(image: NDArray[np.uint8], lips: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,): half the mean of the darkest tenth between the lips' outer edges: a seam, or an open mouth's depth."""
    inside = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.rint(lips).astype(np.int32)], 1)
    pixels = image[inside > 0].astype(np.float64)
    if not len(pixels):  # lips outside the image: nothing of the mouth will be seen either
        return np.zeros(3)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    return pixels[luma <= np.quantile(luma, 0.1)].mean(axis=0) / 2
