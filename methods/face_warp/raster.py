"""A piecewise-affine warp: where to read each output pixel in the source. One index image, then array arithmetic."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_FRACTION = 5  # bits below the pixel that OpenCV's polygon filler reads

Floats = NDArray[np.float64]


def inverse_map(
    source: Floats, target: Floats, triangles: NDArray[np.int64], shade: Floats, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where each pixel of the output comes from: (H, W, 2) float32 x and y, and (H, W) float32 the vertices' ``shade``.

    ``source``, ``target``: (V, 2), coordinates in which a pixel's centre is whole; ``triangles``: (T, 3), drawn in this
    order, so that later ones cover earlier ones; ``shade``: (V,). A pixel under no triangle reads from its own place.
    """
    owner = np.full(shape, -1, np.int32)
    corners = np.rint(target[triangles] * (1 << _FRACTION)).astype(np.int32)
    for i, corner in enumerate(corners):
        cv2.fillConvexPoly(owner, corner, i, cv2.LINE_8, _FRACTION)
    y, x = np.nonzero(owner >= 0)
    table = _weights(source, target, triangles, shade)[owner[y, x]]

    weights = table[:, 0:9].reshape(-1, 3, 3) @ np.stack([x, y, np.ones_like(x)], axis=1).astype(np.float32)[..., None]
    # The filler owns pixels whose centres lie just outside; a sliver would read those from far away.
    clamped = np.maximum(weights[..., 0], -table[:, 9:12])
    clamped /= clamped.sum(axis=1, keepdims=True)

    where = np.stack(np.meshgrid(np.arange(shape[1]), np.arange(shape[0])), axis=-1).astype(np.float32)
    dark = np.zeros(shape, np.float32)
    found = (clamped[:, None, :] @ table[:, 12:21].reshape(-1, 3, 3))[:, 0]
    where[y, x], dark[y, x] = found[:, :2], np.clip(found[:, 2], 0, 1)
    return where, dark


def _weights(source: Floats, target: Floats, triangles: NDArray[np.int64], shade: Floats) -> NDArray[np.float32]:
    """(T, 21) a triangle: the matrix from (x, y, 1) to barycentric weights, the weights' margins, the vertices' values.

    A margin lets a weight fall below 0 by as much as one pixel outside the source triangle.
    """
    t, s = target[triangles], source[triangles]
    matrix = np.concatenate([t, np.ones((*t.shape[:2], 1))], axis=2).transpose(0, 2, 1)
    flat = np.abs(np.linalg.det(matrix)) < 1e-6
    matrix[flat] += np.eye(3) * 1e-3  # has no inside: only its clamped edge can be seen
    ahead, behind = np.roll(s, -1, axis=1), np.roll(s, -2, axis=1)
    edge = np.linalg.norm(behind - ahead, axis=2)
    span = s[:, 1:] - s[:, :1]
    area = np.abs(span[:, 0, 0] * span[:, 1, 1] - span[:, 0, 1] * span[:, 1, 0])
    margin = edge / np.maximum(area[:, None], 0.25 * edge + 1e-9)
    values = np.concatenate([s, shade[triangles][..., None]], axis=2)
    parts = (np.linalg.inv(matrix).reshape(-1, 9), margin, values.reshape(-1, 9))
    return np.concatenate(parts, axis=1).astype(np.float32)
