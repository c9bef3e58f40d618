"""The CUDA renderer: gsplat, called with the conventions of our CPU renderer. Read against gsplat 1.5.3."""

from __future__ import annotations

import functools
from types import ModuleType

import torch
from torch import Tensor

from avatarbench.errors import UsageError

TILE = 16


def rasterise_gsplat(
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
    """As :func:`avatarbench.gaussians.cpu.rasterise_cpu`, on CUDA tensors in float32. Raises UsageError where gsplat is
    missing.

    ``shift`` is added after the tiles are found: it reads a gradient, and moves nothing by more than its zeros.
    """
    gsplat = _gsplat()
    radii, means2d, depths, conics, _ = gsplat.fully_fused_projection(
        means,
        None,
        quaternions,
        scales,
        views,
        intrinsics,
        width,
        height,
        eps2d=eps2d,
        near_plane=near,
        far_plane=far,
        packed=False,
        opacities=opacities,
    )
    cameras = len(views)
    values = features if features.ndim == 3 else features.expand(cameras, *features.shape)
    # What the projection culls has depths that nobody wrote; no tile lists it, so that nobody reads them either.
    values = torch.cat([values, depths[..., None]], -1)
    if background is not None:
        background = torch.nn.functional.pad(background.expand(cameras, -1), (0, 1))
    tiles_x, tiles_y = -(-width // TILE), -(-height // TILE)
    _, ids, flat = gsplat.isect_tiles(means2d, radii, depths, TILE, tiles_x, tiles_y)
    out, alpha = gsplat.rasterize_to_pixels(
        means2d if shift is None else means2d + shift,
        conics,
        values,
        opacities.expand(cameras, -1),
        width,
        height,
        TILE,
        gsplat.isect_offset_encode(ids, cameras, tiles_x, tiles_y),
        flat,
        backgrounds=background,
    )
    return out[..., :-1], alpha[..., 0], out[..., -1], radii.amax(-1)  # radii: (B, N, 2), a side each


def harmonics_gsplat(coefficients: Tensor, means: Tensor, views: Tensor, degree: int) -> Tensor:
    """As :func:`avatarbench.gaussians.harmonics.colours`, in gsplat's one kernel."""
    centres = -(views[:, :3, :3].transpose(1, 2) @ views[:, :3, 3:])[..., 0]
    directions = means[None] - centres[:, None]  # of any length: the kernel normalises them
    each = coefficients.expand(len(views), *coefficients.shape)
    return (_gsplat().spherical_harmonics(degree, directions, each) + 0.5).clamp_min(0)


@functools.cache
def _gsplat() -> ModuleType:
    try:
        import gsplat
        from gsplat.cuda import _backend  # builds the kernels on first use
    except ImportError as error:
        raise UsageError(f"gsplat renders on CUDA and cannot be imported here ({error}): pip install gsplat") from error
    if _backend._C is None:
        raise UsageError("gsplat is here, but not its kernels: it builds them with the CUDA toolkit, which has nvcc.")
    return gsplat
