"""EWA projection of 3D Gaussians to the image and its gradient, one Gaussian at a time, compiled by numba.

Formulas: Zwicker et al. 2001 (EWA splatting), Kerbl et al. 2023 (section 4), with gsplat's conventions (its
``Projection`` and ``Utils`` headers): the screen covariance grows by ``eps2d`` on its diagonal, and the Jacobian is
taken at a point that is at most 30 % of the half field of view outside the image. Arithmetic is float64 whatever the
arrays are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, prange

MARGIN = 0.3
EXTENT = 3.33  # standard deviations after which a Gaussian of any opacity is under ALPHA_LEAST
ALPHA_LEAST = 1.0 / 255.0
RADIUS_MOST = 2.0**30  # pixels

_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(inline="always")
def _three(array, n):
    """A row of three in float64: a product of two float32 is one too, and ends at 1e38."""
    return np.float64(array[n, 0]), np.float64(array[n, 1]), np.float64(array[n, 2])


@njit(inline="always")
def _rotation(w, x, y, z):
    """The nine entries of the rotation of a unit quaternion."""
    return (
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    )


@njit(parallel=True, **_OPTIONS)
def project(
    means,
    quaternions,
    scales,
    opacities,
    view,
    k,
    width,
    height,
    near,
    far,
    eps2d,
    shift,
    means2d,
    conics,
    depths,
    box,
    radii,
):
    """Fill ``means2d`` (N, 2) pixels, ``conics`` (N, 3), ``depths`` (N,), ``box`` (N, 4): x0, y0, x1, y1 whole pixels
    of the picture, ``radii`` (N,): half the larger side before it is cut to the picture, whole pixels.

    ``shift`` (N, 2) is added to the projected means. A Gaussian that shows nothing gets an empty box, x1 <= x0, and
    radius zero.
    """
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    margin_x, margin_y = MARGIN * 0.5 * width / fx, MARGIN * 0.5 * height / fy
    for n in prange(means.shape[0]):
        box[n, 0] = box[n, 1] = box[n, 2] = box[n, 3] = 0
        radii[n] = 0
        m0, m1, m2 = _three(means, n)
        x = view[0, 0] * m0 + view[0, 1] * m1 + view[0, 2] * m2 + view[0, 3]
        y = view[1, 0] * m0 + view[1, 1] * m1 + view[1, 2] * m2 + view[1, 3]
        z = view[2, 0] * m0 + view[2, 1] * m1 + view[2, 2] * m2 + view[2, 3]
        depths[n] = z
        if not (z >= near and z <= far) or opacities[n] < ALPHA_LEAST:
            continue
        rz = 1.0 / z
        tx = min((width - cx) / fx + margin_x, max(-cx / fx - margin_x, x * rz)) * z
        ty = min((height - cy) / fy + margin_y, max(-cy / fy - margin_y, y * rz)) * z
        j00, j02, j11, j12 = fx * rz, -fx * tx * rz * rz, fy * rz, -fy * ty * rz * rz
        s00, s01, s11, determinant = _screen_covariance(quaternions, scales, view, j00, j02, j11, j12, eps2d, n)
        if not determinant > 0:
            continue
        u, v = fx * x * rz + cx + shift[n, 0], fy * y * rz + cy + shift[n, 1]
        means2d[n, 0], means2d[n, 1] = u, v
        conics[n, 0], conics[n, 1], conics[n, 2] = s11 / determinant, -s01 / determinant, s00 / determinant
        extent = min(EXTENT, math.sqrt(2 * math.log(opacities[n] / ALPHA_LEAST)))
        # Cut as floats: an extent that no whole number holds would come out of the conversion as a negative one.
        rx, ry = np.ceil(extent * math.sqrt(s00)), np.ceil(extent * math.sqrt(s11))
        if not (max(rx, ry) > 0 and u + rx > 0 and u - rx < width and v + ry > 0 and v - ry < height):
            continue
        box[n, 0], box[n, 1] = int(max(0.0, u - rx)), int(max(0.0, v - ry))
        box[n, 2] = int(np.ceil(min(float(width), u + rx)))
        box[n, 3] = int(np.ceil(min(float(height), v + ry)))
        radii[n] = int(min(RADIUS_MOST, max(rx, ry)))


@njit(inline="always")
def _unit(quaternions, n):
    w = np.float64(quaternions[n, 0])
    x, y, z = np.float64(quaternions[n, 1]), np.float64(quaternions[n, 2]), np.float64(quaternions[n, 3])
    length = math.sqrt(w * w + x * x + y * y + z * z)
    return w / length, x / length, y / length, z / length, length


@njit(inline="always")
def _world_covariance(r, s0, s1, s2):
    """xx, xy, xz, yy, yz, zz of R diag(s^2) R^T."""
    a, b, c = s0 * s0, s1 * s1, s2 * s2
    return (
        a * r[0] * r[0] + b * r[1] * r[1] + c * r[2] * r[2],
        a * r[0] * r[3] + b * r[1] * r[4] + c * r[2] * r[5],
        a * r[0] * r[6] + b * r[1] * r[7] + c * r[2] * r[8],
        a * r[3] * r[3] + b * r[4] * r[4] + c * r[5] * r[5],
        a * r[3] * r[6] + b * r[4] * r[7] + c * r[5] * r[8],
        a * r[6] * r[6] + b * r[7] * r[7] + c * r[8] * r[8],
    )


@njit(inline="always")
def _turned(w, e):
    """xx, xy, xz, yy, yz, zz of W E W^T, for the upper left 3 x 3 of ``w``."""
    a0 = w[0, 0] * e[0] + w[0, 1] * e[1] + w[0, 2] * e[2]
    a1 = w[0, 0] * e[1] + w[0, 1] * e[3] + w[0, 2] * e[4]
    a2 = w[0, 0] * e[2] + w[0, 1] * e[4] + w[0, 2] * e[5]
    b0 = w[1, 0] * e[0] + w[1, 1] * e[1] + w[1, 2] * e[2]
    b1 = w[1, 0] * e[1] + w[1, 1] * e[3] + w[1, 2] * e[4]
    b2 = w[1, 0] * e[2] + w[1, 1] * e[4] + w[1, 2] * e[5]
    c0 = w[2, 0] * e[0] + w[2, 1] * e[1] + w[2, 2] * e[2]
    c1 = w[2, 0] * e[1] + w[2, 1] * e[3] + w[2, 2] * e[4]
    c2 = w[2, 0] * e[2] + w[2, 1] * e[4] + w[2, 2] * e[5]
    return (
        a0 * w[0, 0] + a1 * w[0, 1] + a2 * w[0, 2],
        a0 * w[1, 0] + a1 * w[1, 1] + a2 * w[1, 2],
        a0 * w[2, 0] + a1 * w[2, 1] + a2 * w[2, 2],
        b0 * w[1, 0] + b1 * w[1, 1] + b2 * w[1, 2],
        b0 * w[2, 0] + b1 * w[2, 1] + b2 * w[2, 2],
        c0 * w[2, 0] + c1 * w[2, 1] + c2 * w[2, 2],
    )


@njit(inline="always")
def _screen_axis(view, r0, r1, r2, s, j00, j02, j11, j12):
    """What the picture shows of one axis of a Gaussian, of direction ``r`` and length ``s``: a column of J W R S."""
    x = view[0, 0] * r0 + view[0, 1] * r1 + view[0, 2] * r2
    y = view[1, 0] * r0 + view[1, 1] * r1 + view[1, 2] * r2
    z = view[2, 0] * r0 + view[2, 1] * r1 + view[2, 2] * r2
    return s * (j00 * x + j02 * z), s * (j11 * y + j12 * z)


@njit(inline="always")
def _screen_covariance(quaternions, scales, view, j00, j02, j11, j12, eps2d, n):
    """xx, xy, yy of A A^T + eps2d, A = J W R S, and its determinant.

    The determinant is a sum of squares (Cauchy-Binet): xx yy - xy^2 would lose a thin Gaussian's width to rounding.
    """
    qw, qx, qy, qz, _ = _unit(quaternions, n)
    r = _rotation(qw, qx, qy, qz)
    s0, s1, s2 = _three(scales, n)
    a0, b0 = _screen_axis(view, r[0], r[3], r[6], s0, j00, j02, j11, j12)
    a1, b1 = _screen_axis(view, r[1], r[4], r[7], s1, j00, j02, j11, j12)
    a2, b2 = _screen_axis(view, r[2], r[5], r[8], s2, j00, j02, j11, j12)
    xx, xy, yy = a0 * a0 + a1 * a1 + a2 * a2, a0 * b0 + a1 * b1 + a2 * b2, b0 * b0 + b1 * b1 + b2 * b2
    m0, m1, m2 = a0 * b1 - a1 * b0, a1 * b2 - a2 * b1, a2 * b0 - a0 * b2
    determinant = eps2d * (eps2d + xx + yy) + m0 * m0 + m1 * m1 + m2 * m2
    return xx + eps2d, xy, yy + eps2d, determinant


@njit(parallel=True, **_OPTIONS)
def project_backward(
    means,
    quaternions,
    scales,
    view,
    k,
    width,
    height,
    conics,
    box,
    g_means2d,
    g_conics,
    g_depths,
    g_means,
    g_quaternions,
    g_scales,
    g_view,
):
    """Add to ``g_means`` (N, 3), ``g_quaternions`` (N, 4), ``g_scales`` (N, 3); fill ``g_view`` (N, 12), row-major 3 x
    4.

    ``g_view`` is a Gaussian's share of the camera's gradient: summed by the caller in a fixed order.
    """
    for n in prange(means.shape[0]):
        if box[n, 2] > box[n, 0]:
            _backward_of(
                n,
                means,
                quaternions,
                scales,
                view,
                k,
                width,
                height,
                conics,
                g_means2d,
                g_conics,
                g_depths,
                g_means,
                g_quaternions,
                g_scales,
                g_view,
            )


@njit(**_OPTIONS)
def _backward_of(
    n,
    means,
    quaternions,
    scales,
    view,
    k,
    width,
    height,
    conics,
    g_means2d,
    g_conics,
    g_depths,
    g_means,
    g_quaternions,
    g_scales,
    g_view,
):
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    margin_x, margin_y = MARGIN * 0.5 * width / fx, MARGIN * 0.5 * height / fy
    low_x, high_x = -cx / fx - margin_x, (width - cx) / fx + margin_x
    low_y, high_y = -cy / fy - margin_y, (height - cy) / fy + margin_y
    m0, m1, m2 = _three(means, n)
    x = view[0, 0] * m0 + view[0, 1] * m1 + view[0, 2] * m2 + view[0, 3]
    y = view[1, 0] * m0 + view[1, 1] * m1 + view[1, 2] * m2 + view[1, 3]
    z = view[2, 0] * m0 + view[2, 1] * m1 + view[2, 2] * m2 + view[2, 3]
    qw, qx, qy, qz, length = _unit(quaternions, n)
    r = _rotation(qw, qx, qy, qz)
    s0, s1, s2 = _three(scales, n)
    e = _world_covariance(r, s0, s1, s2)
    c = _turned(view, e)
    rz = 1.0 / z
    ux, uy = x * rz, y * rz
    inside_x, inside_y = low_x <= ux <= high_x, low_y <= uy <= high_y
    tx, ty = min(high_x, max(low_x, ux)) * z, min(high_y, max(low_y, uy)) * z
    j00, j02, j11, j12 = fx * rz, -fx * tx * rz * rz, fy * rz, -fy * ty * rz * rz

    # Through the inverse: dL/dS = -S^-1 G S^-1, with the off-diagonal of G halved.
    a, b, d = conics[n, 0], conics[n, 1], conics[n, 2]
    ga, gb, gd = g_conics[n, 0], 0.5 * g_conics[n, 1], g_conics[n, 2]
    h00, h01, h10, h11 = ga * a + gb * b, ga * b + gb * d, gb * a + gd * b, gb * b + gd * d
    g00, g01, g11 = -(a * h00 + b * h10), -(a * h01 + b * h11), -(b * h01 + d * h11)

    # G J, 2 x 3; then the camera covariance's gradient J^T G J and the Jacobian's 2 G J C.
    p00, p01, p02 = g00 * j00, g01 * j11, g00 * j02 + g01 * j12
    p10, p11, p12 = g01 * j00, g11 * j11, g01 * j02 + g11 * j12
    gc = (j00 * p00, j00 * p01, j00 * p02, j11 * p11, j11 * p12, j02 * p02 + j12 * p12)
    g_j00 = 2 * (p00 * c[0] + p01 * c[1] + p02 * c[2])
    g_j02 = 2 * (p00 * c[2] + p01 * c[4] + p02 * c[5])
    g_j11 = 2 * (p10 * c[1] + p11 * c[3] + p12 * c[4])
    g_j12 = 2 * (p10 * c[2] + p11 * c[4] + p12 * c[5])

    gu, gv = g_means2d[n, 0], g_means2d[n, 1]
    rz2 = rz * rz
    gx, gy = fx * rz * gu, fy * rz * gv
    gz = g_depths[n] - (fx * x * gu + fy * y * gv) * rz2 - fx * rz2 * g_j00 - fy * rz2 * g_j11
    if inside_x:
        gx -= fx * rz2 * g_j02
        gz += 2 * fx * tx * rz2 * rz * g_j02
    else:
        gz += fx * tx * rz2 * rz * g_j02
    if inside_y:
        gy -= fy * rz2 * g_j12
        gz += 2 * fy * ty * rz2 * rz * g_j12
    else:
        gz += fy * ty * rz2 * rz * g_j12

    for i in range(3):
        g_means[n, i] += view[0, i] * gx + view[1, i] * gy + view[2, i] * gz
    # The camera's rotation: through the point, and through C = W E W^T (2 Gc W E).
    gcm = ((gc[0], gc[1], gc[2]), (gc[1], gc[3], gc[4]), (gc[2], gc[4], gc[5]))
    em = ((e[0], e[1], e[2]), (e[1], e[3], e[4]), (e[2], e[4], e[5]))
    point = (gx, gy, gz)
    for i in range(3):
        t0 = gcm[i][0] * view[0, 0] + gcm[i][1] * view[1, 0] + gcm[i][2] * view[2, 0]
        t1 = gcm[i][0] * view[0, 1] + gcm[i][1] * view[1, 1] + gcm[i][2] * view[2, 1]
        t2 = gcm[i][0] * view[0, 2] + gcm[i][1] * view[1, 2] + gcm[i][2] * view[2, 2]
        for j in range(3):
            g_view[n, 4 * i + j] = 2 * (t0 * em[0][j] + t1 * em[1][j] + t2 * em[2][j]) + point[i] * means[n, j]
        g_view[n, 4 * i + 3] = point[i]

    # The world covariance's gradient W^T Gc W, then E = M M^T with M = R diag(s).
    ge = _turned(view.T, gc)
    gr0, gr1, gr2, gs0 = _column(ge, r[0], r[3], r[6], s0)
    gr3, gr4, gr5, gs1 = _column(ge, r[1], r[4], r[7], s1)
    gr6, gr7, gr8, gs2 = _column(ge, r[2], r[5], r[8], s2)
    g_scales[n, 0] += gs0
    g_scales[n, 1] += gs1
    g_scales[n, 2] += gs2
    # gr0..2 are the gradient of R's first column, gr3..5 of the second, gr6..8 of the third.
    gw = 2 * (qx * (gr5 - gr7) + qy * (gr6 - gr2) + qz * (gr1 - gr3))
    gqx = 2 * (-2 * qx * (gr4 + gr8) + qy * (gr1 + gr3) + qz * (gr2 + gr6) + qw * (gr5 - gr7))
    gqy = 2 * (qx * (gr1 + gr3) - 2 * qy * (gr0 + gr8) + qz * (gr5 + gr7) + qw * (gr6 - gr2))
    gqz = 2 * (qx * (gr2 + gr6) + qy * (gr5 + gr7) - 2 * qz * (gr0 + gr4) + qw * (gr1 - gr3))
    along = gw * qw + gqx * qx + gqy * qy + gqz * qz
    g_quaternions[n, 0] += (gw - along * qw) / length
    g_quaternions[n, 1] += (gqx - along * qx) / length
    g_quaternions[n, 2] += (gqy - along * qy) / length
    g_quaternions[n, 3] += (gqz - along * qz) / length


@njit(inline="always")
def _column(g, r0, r1, r2, s):
    """For one column of M = R diag(s): the gradient of R's column (three) and of the scale, from dL/dM = 2 G M."""
    v0 = 2 * s * (g[0] * r0 + g[1] * r1 + g[2] * r2)
    v1 = 2 * s * (g[1] * r0 + g[3] * r1 + g[4] * r2)
    v2 = 2 * s * (g[2] * r0 + g[4] * r1 + g[5] * r2)
    return v0 * s, v1 * s, v2 * s, v0 * r0 + v1 * r1 + v2 * r2


def empty_projection(count: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """``means2d``, ``conics``, ``depths`` and ``box`` for :func:`project` to fill.

    Conics are float64 whatever ``dtype`` is: a long thin Gaussian's would not stay positive definite.
    """
    return (
        np.zeros((count, 2), dtype),
        np.zeros((count, 3), np.float64),
        np.zeros(count, dtype),
        np.zeros((count, 4), np.int32),
    )
