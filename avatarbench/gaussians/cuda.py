"""The CUDA renderer: gsplat, called with the conventions of our CPU renderer."""

from __future__ import annotations

import torch
from torch import Tensor

from avatarbench.errors import UsageError


def rasterise_gsplat(
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
    """As :func:`avatarbench.gaussians.cpu.rasterise_cpu`, on CUDA tensors. Raises UsageError where gsplat is missing.

    ``shift`` is added after the tiles are found: it reads a gradient, and moves nothing by more than its zeros.
    """
    try:
        from gsplat import fully_fused_projection, isect_offset_encode, isect_tiles, rasterize_to_pixels
    except ImportError as error:
        raise UsageError(f"gsplat renders on CUDA and cannot be imported here ({error}): pip install gsplat") from error
    tile = 16
    quaternions = torch.nn.functional.normalize(quaternions, dim=-1)
    radii, means2d, depths, conics, _ = fully_fused_projection(
        means, None, quaternions, scales, views, intrinsics, width, height,
        eps2d=eps2d, near_plane=near, far_plane=far, packed=False, opacities=opacities,
    )  # fmt: skip
    cameras = len(views)
    values = features if features.ndim == 3 else features.expand(cameras, *features.shape)
    values = torch.cat([values, depths[..., None]], -1)
    tiles_x, tiles_y = -(-width // tile), -(-height // tile)
    _, ids, flat = isect_tiles(means2d, radii, depths, tile, tiles_x, tiles_y)
    offsets = isect_offset_encode(ids, cameras, tiles_x, tiles_y)
    out, alpha = rasterize_to_pixels(
        means2d + shift, conics, values, opacities.expand(cameras, -1), width, height, tile, offsets, flat
    )
    return out[..., :-1], 1 - alpha[..., 0], out[..., -1], radii.amax(-1)
