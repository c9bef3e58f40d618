"""The CPU renderer: one autograd function over the compiled kernels, camera by camera."""

from __future__ import annotations

import os
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from avatarbench.errors import DataError, UsageError
from avatarbench.gaussians import cpu_project, cpu_raster
from avatarbench.gaussians.cloud import QUATERNION_LEAST, refuse

_owner = 0
"""The process whose kernels have run, zero before any have: OpenMP's threads do not survive a fork."""


class RasteriseCpu(torch.autograd.Function):
    """(B, H, W, C) features, (B, H, W) transmittance and (B, H, W) expected depth sums of a cloud seen by B cameras.

    Inputs as :func:`.render.rasterise` documents them; ``features`` (N, C) or (B, N, C),
    ``shift`` (B, N, 2) pixels added to the projected means (zeros, to read their gradient). Gradients for everything
    but the intrinsics.
    """

    @staticmethod
    def forward(
        context: Any,
        means: Tensor,
        quaternions: Tensor,
        scales: Tensor,
        opacities: Tensor,
        features: Tensor,
        views: Tensor,
        intrinsics: Tensor,
        shift: Tensor,
        width: int,
        height: int,
        near: float,
        far: float,
        eps2d: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        _as_many_threads_as_torch()
        arrays = [t.detach().contiguous().numpy() for t in (means, quaternions, scales, opacities)]
        cameras, dtype = len(views), arrays[0].dtype
        channels = features.shape[-1]
        out = np.empty((cameras, height, width, channels + 1), dtype)
        transmittance = np.empty((cameras, height, width), dtype)
        last = np.empty((cameras, height, width), np.int64)
        radii = np.zeros((cameras, len(arrays[0])), np.int32)
        saved = []
        for camera in range(cameras):
            view, k = views[camera].detach().numpy(), intrinsics[camera].detach().numpy()
            moved = shift[camera].detach().contiguous().numpy()
            means2d, conics, depths, box = cpu_project.empty_projection(len(arrays[0]), dtype)
            cpu_project.project(
                *arrays, view, k, width, height, near, far, eps2d, moved, means2d, conics, depths, box, radii[camera]
            )
            tiles_x, tiles_y = -(-width // cpu_raster.TILE), -(-height // cpu_raster.TILE)
            starts, ids, slots, first = cpu_raster.bin_tiles(
                cpu_raster.depth_order(depths), box, tiles_x, tiles_x * tiles_y
            )
            values = _with_depth(features, camera, depths)
            cpu_raster.composite(
                starts,
                ids,
                means2d,
                conics,
                arrays[3],
                values,
                box,
                width,
                height,
                out[camera],
                transmittance[camera],
                last[camera],
            )
            saved.append((means2d, conics, box, starts, ids, slots, first, values))
        context.save_for_backward(means, quaternions, scales, opacities, features, views, intrinsics)
        context.kept = saved, transmittance, last
        context.size = width, height
        radii_out = torch.from_numpy(radii)
        context.mark_non_differentiable(radii_out)
        return (
            torch.from_numpy(out[..., :channels]),
            torch.from_numpy(transmittance.copy()),
            torch.from_numpy(out[..., channels]),
            radii_out,
        )

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, g_features: Tensor, g_transmittance: Tensor, g_depth: Tensor, _: Any) -> Any:
        _as_many_threads_as_torch()
        means, quaternions, scales, opacities, features, views, intrinsics = context.saved_tensors
        arrays = [t.detach().contiguous().numpy() for t in (means, quaternions, scales, opacities)]
        saved, transmittance, last = context.kept
        width, height = context.size
        count, dtype = len(arrays[0]), arrays[0].dtype
        g_means, g_quaternions = np.zeros((count, 3), dtype), np.zeros((count, 4), dtype)
        g_scales, g_opacities = np.zeros((count, 3), dtype), np.zeros(count, dtype)
        g_values = np.zeros(features.shape, dtype)
        g_views, g_shift = np.zeros(views.shape, dtype), np.zeros((len(views), count, 2), dtype)
        g_out = torch.cat([g_features, g_depth[..., None]], -1).contiguous().numpy()
        for camera, (means2d, conics, box, starts, ids, slots, first, values) in enumerate(saved):
            rows = np.empty((len(ids), 6 + values.shape[1]), dtype)
            cpu_raster.composite_backward(
                starts,
                ids,
                slots,
                means2d,
                conics,
                arrays[3],
                values,
                box,
                width,
                height,
                transmittance[camera].copy(),
                last[camera],
                g_out[camera],
                g_transmittance[camera].contiguous().numpy(),
                np.zeros((height, width), dtype),
                rows,
            )
            total = np.zeros((count, rows.shape[1]), dtype)
            cpu_raster.sum_rows(first, rows, total)
            g_view = np.zeros((count, 12), dtype)
            view, k = views[camera].detach().numpy(), intrinsics[camera].detach().numpy()
            cpu_project.project_backward(
                *arrays[:3],
                view,
                k,
                width,
                height,
                conics,
                box,
                total[:, :2],
                total[:, 2:5],
                total[:, -1],
                g_means,
                g_quaternions,
                g_scales,
                g_view,
            )
            g_shift[camera] = total[:, :2]
            g_opacities += total[:, 5]
            g_views[camera, :3] = g_view.sum(0).reshape(3, 4)
            if features.ndim == 3:
                g_values[camera] = total[:, 6:-1]
            else:
                g_values += total[:, 6:-1]
        found = (g_means, g_quaternions, g_scales, g_opacities, g_values, g_views)
        return (*map(torch.from_numpy, found), None, torch.from_numpy(g_shift), *[None] * 5)


def _as_many_threads_as_torch() -> None:
    """``torch.set_num_threads`` and ``OMP_NUM_THREADS`` hold for the kernels too.

    Numba starts its threads through the OpenMP library that torch runs on, and with that sets torch's number to its
    own: put back, since torch's small operations then take a hundred times as long on a busy machine.
    Raises UsageError in a process that was forked after such a start, which OpenMP would end without an exception.
    """
    global _owner
    _owner = _owner or os.getpid()
    if _owner != os.getpid():
        raise UsageError(
            f"this process was forked from process {_owner} after that had rendered on the CPU, and OpenMP's "
            "threads do not survive a fork: use the spawn start method, multiprocessing.get_context('spawn')."
        )
    count = torch.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def _with_depth(features: Tensor, camera: int, depths: np.ndarray) -> np.ndarray:
    """(N, C + 1): a camera's features with the depth as the last channel."""
    values = (features[camera] if features.ndim == 3 else features).detach().numpy()
    return np.concatenate([values, depths[:, None]], 1, dtype=depths.dtype)


def rasterise_cpu(
    means: Tensor,
    quaternions: Tensor,
    scales: Tensor,
    opacities: Tensor,
    features: Tensor,
    views: Tensor,
    intrinsics: Tensor,
    background: Tensor | None,
    shift: Tensor | None,
    width: int,
    height: int,
    near: float,
    far: float,
    eps2d: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features over the background, alpha, depth sums and radii, for what :func:`.render.rasterise` passes.

    Raises DataError for numbers that no picture can be made of, naming the attribute and the first index.
    """
    given = (means, quaternions, scales, opacities, features, views, intrinsics)
    _check_values(*(t.detach() for t in given))
    if shift is None:
        shift = means.new_zeros(len(views), len(means), 2)
    out: tuple[Tensor, Tensor, Tensor, Tensor] = RasteriseCpu.apply(*given, shift, width, height, near, far, eps2d)
    image, transmittance, depth, radii = out
    if background is not None:
        plain = background.expand(len(views), -1)
        image = image + transmittance[..., None] * plain[:, None, None]
    return image, 1 - transmittance, depth, radii


def _check_values(
    means: Tensor,
    quaternions: Tensor,
    scales: Tensor,
    opacities: Tensor,
    features: Tensor,
    views: Tensor,
    intrinsics: Tensor,
) -> None:
    gaussians = {"means": means, "quaternions": quaternions, "scales": scales, "opacities": opacities}
    for name, value in gaussians.items():
        _refuse_unless_finite(value, name)
    for value in features if features.ndim == 3 else [features]:
        _refuse_unless_finite(value, "features")
    refuse(quaternions.square().sum(1) < QUATERNION_LEAST**2, "quaternions", "zero")
    for camera, (view, k) in enumerate(zip(views.numpy(), intrinsics.numpy(), strict=True)):
        if not (np.isfinite(view).all() and np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0):
            raise DataError(f"camera {camera} has NaN or infinite numbers, or no focal length above zero.")


def _refuse_unless_finite(value: Tensor, name: str) -> None:
    if not np.isfinite(value.numpy()).all():  # ten times as fast as torch's on arrays of this size
        refuse(~torch.isfinite(value).reshape(len(value), -1).all(1), name, "NaN or infinite")
