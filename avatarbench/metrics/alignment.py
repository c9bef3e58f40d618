"""Bring a face to the frame that an identity network was trained on, from the 478 landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import Unscorable

DLIB_POINTS = (263, 362, 33, 133, 2)
"""dlib's five points: outer and inner corner of the subject's left eye, then of the right eye, base of the nose."""

ARCFACE_POINTS = (468, 473, 4, 61, 291)
"""ArcFace's five points: right iris of the subject (left in the picture), left iris, nose tip, mouth corners."""

ARCFACE_TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""(5, 2) pixels in a 112 x 112 crop: insightface, python-package/insightface/utils/face_align.py."""

ARCFACE_SIZE = 112
DLIB_SIZE, DLIB_PADDING = 150, 0.25


def dlib_chip(image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(150, 150, 3) uint8: dlib's own face chip, padding 0.25, from five of the (478, 3) landmarks in pixels.

    dlib keeps points as whole pixels, its own shape predictors' included, so these are rounded too.
    """
    import dlib

    return dlib.get_face_chip(np.ascontiguousarray(image), dlib_shape(landmarks), size=DLIB_SIZE, padding=DLIB_PADDING)


def dlib_shape(landmarks: NDArray[np.float32]) -> object:
    """``dlib.full_object_detection`` of the five points. The chip depends on the points alone, not on the rectangle."""
    import dlib

    points = np.rint(landmarks[list(DLIB_POINTS), :2].astype(np.float64)).astype(int)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    box = dlib.rectangle(int(left), int(top), int(right), int(bottom))
    return dlib.full_object_detection(box, [dlib.point(int(x), int(y)) for x, y in points])


def arcface_crop(image: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(112, 112, 3) uint8: the least-squares similarity of five of the (478, 3) landmarks onto the ArcFace template.

    Bilinear without prefilter, black outside the image, as insightface's norm_crop. Raises Unscorable where the points
    coincide.
    """
    from skimage.transform import SimilarityTransform, warp

    points = landmarks[list(ARCFACE_POINTS), :2].astype(np.float64)
    fitted = SimilarityTransform.from_estimate(points, ARCFACE_TEMPLATE)
    if not fitted or not np.isfinite(fitted.params).all():
        raise Unscorable("the face's five points do not define an alignment")
    crop = warp(
        image, fitted.inverse, output_shape=(ARCFACE_SIZE, ARCFACE_SIZE), order=1, cval=0.0, preserve_range=True
    )
    return np.clip(np.rint(crop), 0, 255).astype(np.uint8)
