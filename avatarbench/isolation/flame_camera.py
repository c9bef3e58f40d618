"""The camera of another focal length that shows a head as ours does: for shims, beside :mod:`flame_fit`.

Copied beside a shim: Python 3.8 and numpy. OpenCV's axes are x right, y down, z forward; pixels are continuous, so that
the middle of a picture is half its size.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 48
SETTLED = 1e-7
"""Pixels: a step that changes the mean distance by less is the last one."""


class FitError(ValueError):
    """A head that their FLAME or their camera cannot show, or a FLAME that is not what is known of theirs."""


def rotations(vectors: np.ndarray) -> np.ndarray:
    """Axis-angle (N, 3) radians -> (N, 3, 3), by Rodrigues' formula."""
    angles = np.linalg.norm(vectors, axis=1)
    x, y, z = (vectors / np.maximum(angles, 1e-12)[:, None]).T
    zero = np.zeros_like(x)
    K = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    return np.eye(3) + np.sin(angles)[:, None, None] * K + (1 - np.cos(angles))[:, None, None] * (K @ K)


def cross(points: np.ndarray) -> np.ndarray:
    """(N, 3, 3): a small turn w moves point p by ``cross(p) @ w``."""
    x, y, z = points.T
    zero = np.zeros_like(x)
    return np.stack([zero, z, -y, -z, zero, x, y, -x, zero], 1).reshape(-1, 3, 3)


def project(K: np.ndarray, pose: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 2) pixels of ``points`` (N, 3) under an OpenCV ``pose`` (4, 4). Raises FitError for points behind it."""
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    if not np.isfinite(seen).all() or seen[:, 2].min() <= 0:
        raise FitError("a part of the head is behind the camera")
    return (seen @ K.T)[:, :2] / seen[:, 2:]


def fit_camera(
    K: np.ndarray, points: np.ndarray, pixels: np.ndarray, weights: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, float]:
    """The OpenCV pose (4, 4) from which a camera of ``K`` sees ``points`` (N, 3) nearest to ``pixels`` (N, 2), and the
    mean distance. ``start`` (4, 4): about where. Raises FitError."""
    pose, last = start.copy(), np.inf
    for _ in range(ROUNDS):
        seen = points @ pose[:3, :3].T + pose[:3, 3]
        off = pixels - project(K, pose, points)
        distance = float(np.average(np.linalg.norm(off, axis=1), weights=weights))
        if abs(last - distance) < SETTLED:
            break
        last = distance
        depth = seen[:, 2]
        lens = np.zeros((len(points), 2, 3))
        lens[:, 0, 0], lens[:, 1, 1] = K[0, 0] / depth, K[1, 1] / depth
        lens[:, 0, 2], lens[:, 1, 2] = -K[0, 0] * seen[:, 0] / depth**2, -K[1, 1] * seen[:, 1] / depth**2
        # About the head, since a turn about the camera moves it as a shift does.
        middle = seen.mean(0)
        columns = np.concatenate([lens @ cross(seen - middle), lens], 2).reshape(-1, 6)
        weighed = columns * np.repeat(weights, 2)[:, None]
        step = np.linalg.solve(weighed.T @ columns, weighed.T @ off.reshape(-1))
        small = rotations(step[None, :3])[0]
        pose[:3, :3] = small @ pose[:3, :3]
        pose[:3, 3] = small @ (pose[:3, 3] - middle) + middle + step[3:]
    return pose, distance


def about_there(K: np.ndarray, ours: np.ndarray, K_ours: np.ndarray, middle: np.ndarray, scale: float) -> np.ndarray:
    """A pose (4, 4) for a camera of ``K`` that shows a head about ``middle`` (3,), ``scale`` times as large, as the
    pose ``ours`` with ``K_ours`` does: at the same pixel, as large, and from the same side. Raises FitError."""
    centre = ours[:3, :3] @ middle + ours[:3, 3]
    if centre[2] <= 0:
        raise FitError("the head is behind the camera")
    ray = np.linalg.solve(K, K_ours @ (centre / centre[2]))
    a, b = centre / np.linalg.norm(centre), ray / np.linalg.norm(ray)
    axis = np.cross(a, b)
    angle = np.arctan2(np.linalg.norm(axis), a @ b)
    turn = rotations((axis / max(np.linalg.norm(axis), 1e-12) * angle)[None])[0]
    pose = np.eye(4)
    pose[:3, :3] = turn @ ours[:3, :3]
    depth = scale * centre[2] * (K[0, 0] + K[1, 1]) / (K_ours[0, 0] + K_ours[1, 1])
    pose[:3, 3] = depth * ray / ray[2] - pose[:3, :3] @ (scale * middle)
    return pose
