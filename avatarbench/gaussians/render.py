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
    ``auto`` takes gsplat for tensors on CUDA. Raises ValueError for shapes, types or a backend that do not fit
    together, and on the CPU DataError for NaN, infinite numbers and zero quaternions: on CUDA a look at the values
    would make every call wait for the device, so that :meth:`Cloud.check` is the caller's.
    """
    _check_shapes(means, quaternions, scales, opacities, features, views, intrinsics, background, shift, width, height)
    draw: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]
    if _backend_of(means, backend) == "gsplat":
        from avatarbench.gaussians.cuda import rasterise_gsplat

        draw = rasterise_gsplat
    else:
        from avatarbench.gaussians.cpu import rasterise_cpu

        draw = rasterise_cpu
    gaussians = (means, quaternions, scales, opacities, features)
    image, alpha, depth, radii = draw(*gaussians, views, intrinsics, background, shift, width, height, near, far, eps2d)
    return Rendering(image, alpha, depth / alpha.clamp_min(1e-10), radii)


def _backend_of(means: Tensor, backend: Backend) -> Backend:
    chosen: Backend = backend if backend != "auto" else ("gsplat" if means.is_cuda else "cpu")
    if chosen == "cpu" and means.is_cuda:
        raise ValueError("the CPU renderer takes tensors on the CPU; these are on CUDA, which backend='gsplat' renders")
    if chosen == "gsplat" and not (means.is_cuda and means.dtype == torch.float32):
        raise ValueError(f"gsplat renders float32 tensors on CUDA; these are {means.dtype} on {means.device}")
    return chosen


def _check_shapes(
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
) -> None:
    """The kernels trust what they are given: nothing of another shape or type may reach them."""
    if width < 1 or height < 1:
        raise ValueError(f"a picture of {width} x {height} pixels has none to render")
    count, cameras, channels = len(means), len(views), features.shape[-1] if features.ndim else 0
    expected: dict[str, tuple[Tensor | None, tuple[tuple[int, ...], ...]]] = {
        "means": (means, ((count, 3),)),
        "quaternions": (quaternions, ((count, 4),)),
        "scales": (scales, ((count, 3),)),
        "opacities": (opacities, ((count,),)),
        "features": (features, ((count, channels), (cameras, count, channels))),
        "views": (views, ((cameras, 4, 4),)),
        "intrinsics": (intrinsics, ((cameras, 3, 3),)),
        "background": (background, ((channels,), (cameras, channels))),
        "shift": (shift, ((cameras, count, 2),)),
    }
    for name, (value, shapes) in expected.items():
        if value is None:
            continue
        if tuple(value.shape) not in shapes:
            wanted = " or ".join(map(str, shapes))
            raise ValueError(f"'{name}' is {tuple(value.shape)} for {count} Gaussians and {cameras} cameras: {wanted}")
        if value.dtype != means.dtype or value.device != means.device:
            raise ValueError(
                f"'{name}' is {value.dtype} on {value.device}, and 'means' {means.dtype} on {means.device}: "
                "one type and one device are expected"
            )
    if means.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"these Gaussians are {means.dtype}; float32 and float64 are rendered")


def camera_tensors(cameras: Sequence[Camera], like: Tensor) -> tuple[Tensor, Tensor, int, int]:
    """``views`` (B, 4, 4), ``intrinsics`` (B, 3, 3), width and height. Raises ValueError for no cameras and for
    cameras of unlike sizes."""
    if not cameras:
        raise ValueError("there is no camera to render for")
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
    extra: Tensor | None = None,
    backend: Backend = "auto",
) -> Rendering:
    """A cloud as its cameras see it, RGB or spherical harmonics evaluated towards each of them, followed by the
    channels of ``extra`` (B, N, C) if there are any; see :func:`rasterise`."""
    views, intrinsics, width, height = camera_tensors(cameras, cloud.means)
    features, degree = cloud.colours, cloud.degree
    if degree is not None and _backend_of(cloud.means, backend) == "gsplat":
        from avatarbench.gaussians.cuda import harmonics_gsplat

        features = harmonics_gsplat(features, cloud.means, views, degree)
    elif degree is not None:
        features = harmonics.colours(features, cloud.means, views)
    if extra is not None:
        features = torch.cat([features.expand(len(views), -1, -1), extra], -1)
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
