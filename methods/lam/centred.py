"""A camera whose principal point is in the middle of its picture, for renderers that know no other.

LAM takes the size of its picture from the principal point and FastAvatar ignores it; both project symmetrically. A crop
of a photograph has its principal point anywhere. Turning the camera about its own centre until the middle of the crop
lies on its axis changes the picture by a homography alone, so that one warp brings what was rendered into the crop.

Copied beside the shims: Python 3.8, numpy; Pillow where a picture is warped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

PERSPECTIVE: Any = 2
BICUBIC: Any = 3
"""Pillow's numbers, whose names are elsewhere in one release than in another."""
SAME = 1e-3
"""Pixels: a homography that moves no corner by more is none."""


def centred(camera: Mapping[str, Any], size: int) -> tuple[dict[str, Any], np.ndarray]:
    """The turned camera, ``size`` pixels square, that sees all that ``camera`` does at as large a scale as that allows,
    and the homography (3, 3) from pixels of ``camera``'s picture to pixels of its own.

    ``camera``: ``K`` (3, 3), ``world_to_camera`` (4, 4), ``width``, ``height``, as OpenCV has them; continuous
    coordinates, so that the middle is ``size / 2``.
    """
    K = np.asarray(camera["K"], np.float64)
    width, height = float(camera["width"]), float(camera["height"])
    turn = _onto_axis(np.linalg.solve(K, [width / 2, height / 2, 1.0]))
    seen = turn @ np.linalg.solve(K, np.array([[0, width, width, 0], [0, 0, height, height], [1.0] * 4]))
    reach = np.abs(seen[:2] / seen[2]).max(axis=1)  # of x and y, at depth 1
    zoom = min(size / 2 / (K[0, 0] * reach[0]), size / 2 / (K[1, 1] * reach[1]))
    turned_K = np.array([[K[0, 0] * zoom, 0, size / 2], [0, K[1, 1] * zoom, size / 2], [0, 0, 1.0]])
    pose = np.eye(4)
    pose[:3, :3] = turn
    turned = dict(
        camera,
        K=turned_K,
        world_to_camera=pose @ np.asarray(camera["world_to_camera"], np.float64),
        width=size,
        height=size,
    )
    return turned, turned_K @ turn @ np.linalg.inv(K)


def _onto_axis(direction: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that takes ``direction`` (3,), which looks forward, onto the z axis."""
    x, y, z = direction / np.linalg.norm(direction)
    return np.array(
        [
            [1 - x * x / (1 + z), -x * y / (1 + z), -x],
            [-x * y / (1 + z), 1 - y * y / (1 + z), -y],
            [x, y, z],
        ]
    )


def warped(picture: np.ndarray, homography: np.ndarray, width: int, height: int, behind: int = 255) -> np.ndarray:
    """What was rendered, (S, S, 3) uint8, in the crop's pixels: (height, width, 3), by one bicubic resampling.

    ``homography`` is :func:`centred`'s; where it moves nothing, the picture is returned as it is. ``behind``: the grey
    beyond the picture's edge.
    """
    corners = np.array([[0, width, width, 0], [0, 0, height, height], [1.0] * 4])
    moved = homography @ corners
    if picture.shape[:2] == (height, width) and np.abs(moved[:2] / moved[2] - corners[:2]).max() < SAME:
        return picture
    from PIL import Image

    matrix = homography / homography[2, 2]
    image = Image.fromarray(np.ascontiguousarray(picture)).transform(
        (width, height),
        PERSPECTIVE,
        tuple(matrix.reshape(-1)[:8]),
        BICUBIC,
        fillcolor=(behind, behind, behind),
    )
    return np.array(image)
