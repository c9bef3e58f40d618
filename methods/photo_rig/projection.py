"""What a photograph says of Gaussians: the pixel of each, how much of it is seen, the mean colour that it draws."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.render import camera_tensors, rasterise
from avatarbench.method import Camera


def project(points: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Pixels (N, 2), whose centres are at halves, and depths (N,), metres, of ``points`` (N, 3) in the world."""
    pose, k = (torch.as_tensor(m, dtype=points.dtype) for m in (camera.world_to_camera, camera.K))
    seen = points @ pose[:3, :3].T + pose[:3, 3]
    flat = seen @ k.T
    return flat[:, :2] / flat[:, 2:].clamp_min(1e-6), seen[:, 2]


def lift(pixels: Tensor, depth: Tensor, camera: Camera) -> Tensor:
    """(N, 3) world points at ``pixels`` (N, 2) and ``depth`` (N,), the inverse of :func:`project`."""
    pose, k = (torch.as_tensor(m, dtype=depth.dtype) for m in (camera.world_to_camera, camera.K))
    rays = torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1) @ torch.linalg.inv(k).T
    return (rays * depth[:, None] - pose[:3, 3]) @ pose[:3, :3]


def sample(picture: NDArray[np.float32], pixels: Tensor) -> NDArray[np.float32]:
    """(N, C) or (N,) bilinear values of ``picture`` (H, W, C) or (H, W); beyond the border the border's."""
    where = np.ascontiguousarray(pixels.numpy(), np.float32)[None] - np.float32(0.5)
    rows = []
    for start in range(0, where.shape[1], 30_000):  # OpenCV's maps are at most 32,767 wide
        x, y = cv2.split(np.ascontiguousarray(where[:, start : start + 30_000]))
        rows.append(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0])
    return np.concatenate(rows) if rows else np.zeros((0, *picture.shape[2:]), np.float32)


def drawn(cloud: Cloud, camera: Camera, picture: Tensor) -> tuple[Tensor, Tensor]:
    """What each Gaussian draws: (N,) pixels, the sum of its weights over the image, and (N, C) the sum of ``picture``
    (H, W, C) under these weights.

    The weights are the derivative of a rendering by the colours, which is what the renderer's backward pass sums.
    """
    channels = torch.cat([picture, picture.new_ones(*picture.shape[:2], 1)], -1)
    features = torch.zeros(len(cloud), channels.shape[-1], requires_grad=True)
    views, intrinsics, width, height = camera_tensors([camera], cloud.means)
    image = rasterise(
        cloud.means, cloud.quaternions, cloud.scales, cloud.opacities, features, views, intrinsics, width, height
    ).image[0]
    (found,) = torch.autograd.grad((image * channels).sum(), features)
    return found[:, -1], found[:, :-1]
