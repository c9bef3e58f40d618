"""Rotation matrices: nearest rotation, angle between two, Euler angles. All in float64 and degrees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import Unscorable

Matrix = NDArray[np.float64]


def nearest_rotation(matrix: NDArray[np.floating]) -> Matrix:
    """The rotation nearest to a (3, 3) matrix in the Frobenius norm, by SVD: scale and shear go, no reflection.

    Raises Unscorable for a matrix that is not finite or has no direction left (rank below 2).
    """
    values = np.asarray(matrix, np.float64)
    if not np.isfinite(values).all():
        raise Unscorable("the head's rotation is not finite")
    u, s, vt = np.linalg.svd(values)
    if s[1] <= 1e-9 * max(s[0], 1e-300):
        raise Unscorable("the head's rotation is degenerate")
    u[:, 2] *= np.sign(np.linalg.det(u @ vt))
    return u @ vt


def geodesic_degrees(a: Matrix, b: Matrix) -> float:
    """Angle in [0, 180] of the rotation from ``a`` to ``b``; atan2 keeps its precision near 0 and near 180."""
    r = a.T @ b
    sine = np.linalg.norm([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    return float(np.degrees(np.arctan2(sine, np.trace(r) - 1.0)))


def euler_degrees(rotation: Matrix) -> Matrix:
    """(3,) pitch, yaw, roll with ``R = Rz(roll) Ry(yaw) Rx(pitch)``; yaw in [-90, 90].

    The convention of 6DRepNet360 (its sixdrepnet360/utils.py), roll set to 0 where yaw is within 6e-5 degrees of +-90.
    """
    r = rotation
    cosine = np.hypot(r[0, 0], r[1, 0])
    yaw = np.arctan2(-r[2, 0], cosine)
    if cosine < 1e-6:
        return np.degrees([np.arctan2(-r[1, 2], r[1, 1]), yaw, 0.0])
    return np.degrees([np.arctan2(r[2, 1], r[2, 2]), yaw, np.arctan2(r[1, 0], r[0, 0])])


def wrap_degrees(angles: Matrix) -> Matrix:
    """Angles brought to [-180, 180)."""
    return (angles + 180.0) % 360.0 - 180.0
