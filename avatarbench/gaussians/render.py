"""One rendering call, two backends: gsplat on CUDA, ours on the CPU, with the same conventions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from avatarbench.gaussians import harmonics
from avatarbench.gaussians.cloud import Cloud
from avatarbench.method import Camera

Backend = Literal["auto", "cpu", "gsplat"]


@dataclass(frozen=True)
class Rendering:
    """What B cameras see. ``image`` (B, H, W, C); ``alpha`` (B, H, W); ``depth`` (B, H, W): the mean depth along the
    camera's axis weighted by what each Gaussian contributes, metres, zero where nothing is; ``radii`` (B, N) pixels,
    zero for a Gaussian that is out of the picture."""

    image: Tensor
    alpha: Tensor
    depth: Tensor
    radii: Tensor


def rasterise(
    means: Tensor,
    quaternions: Tensor,
    scales: Tensor,
    opacities: Tensor,
    features: Tensor,
    views: Tensor,
    intrinsics: Tensor,
    width: int,
    height: int,
    *,
    background: Tensor | None = None,
    near: float = 0.01,
    far: float = 1e10,
    eps2d: float = 0.3,
    shift: Tensor | None = None,
    backend: Backend = "auto",
) -> Rendering:
    """Gaussians to pictures; differentiable in everything but ``intrinsics``, ``near``, ``far`` and ``eps2d``.

    ``means`` (N, 3), ``quaternions`` (N, 4) w x y z, ``scales`` (N, 3), ``opacities`` (N,); ``features`` (N, C) or
    (B, N, C), any number of channels; ``views`` (B, 4, 4) world to camera, OpenCV axes; ``intrinsics`` (B, 3, 3)
    pixels; ``background`` (C,) or (B, C), black where None. ``shift`` (B, N, 2) pixels is added to the projected
    means: zeros that require a gradient read the gradient of the screen positions, which densification goes by.
    ``auto`` takes gsplat for tensors on CUDA. Raises ValueError for a backend that cannot render these tensors.
    """
    chosen = backend if backend != "auto" else ("gsplat" if means.is_cuda else "cpu")
    draw: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]
    if chosen == "gsplat":
        from avatarbench.gaussians.cuda import rasterise_gsplat

        draw = rasterise_gsplat
    elif means.is_cuda:
        raise ValueError("the CPU renderer takes tensors on the CPU; these are on CUDA, which backend='gsplat' renders")
    else:
        from avatarbench.gaussians.cpu import rasterise_cpu

        draw = rasterise_cpu
    if shift is None:
        shift = means.new_zeros(len(views), len(means), 2)
    image, transmittance, depth, radii = draw(
        means, quaternions, scales, opacities, features, views, intrinsics, shift, width, height, near, far, eps2d
    )
    alpha = 1 - transmittance
    if background is not None:
        plain = background if background.ndim == 2 else background.expand(len(views), -1)
        image = image + transmittance[..., None] * plain[:, None, None]
    return Rendering(image, alpha, depth / alpha.clamp_min(1e-10), radii)


def camera_tensors(cameras: Sequence[Camera], like: Tensor) -> tuple[Tensor, Tensor, int, int]:
    """``views`` (B, 4, 4), ``intrinsics`` (B, 3, 3), width and height. Raises ValueError for cameras of unlike
    sizes."""
    sizes = {(camera.width, camera.height) for camera in cameras}
    if len(sizes) != 1:
        raise ValueError(f"one call renders one size; these cameras have {sorted(sizes)}")
    (width, height), stack = sizes.pop(), torch.stack
    views = stack([torch.as_tensor(c.world_to_camera).to(like) for c in cameras])
    return views, stack([torch.as_tensor(c.K).to(like) for c in cameras]), width, height


def render(
    cloud: Cloud,
    cameras: Sequence[Camera],
    background: Tensor | None = None,
    shift: Tensor | None = None,
    backend: Backend = "auto",
) -> Rendering:
    """A cloud as its cameras see it, RGB or spherical harmonics evaluated towards each of them; see
    :func:`rasterise`."""
    views, intrinsics, width, height = camera_tensors(cameras, cloud.means)
    features = cloud.colours if cloud.degree is None else harmonics.colours(cloud.colours, cloud.means, views)
    return rasterise(
        cloud.means,
        cloud.quaternions,
        cloud.scales,
        cloud.opacities,
        features,
        views,
        intrinsics,
        width,
        height,
        background=background,
        shift=shift,
        backend=backend,
    )
