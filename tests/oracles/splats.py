"""A float64 reference of splatting in plain PyTorch: every Gaussian against every pixel, nothing culled, no tiles.

It applies the same cut-offs to alpha and transmittance as the renderers, and is differentiated by autograd.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ALPHA_LEAST, ALPHA_MOST, TRANSMITTANCE_LEAST = 1 / 255, 0.999, 1e-4


def rotations(quaternions: Tensor) -> Tensor:
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def reference(
    means: Tensor,
    quaternions: Tensor,
    scales: Tensor,
    opacities: Tensor,
    features: Tensor,
    views: Tensor,
    intrinsics: Tensor,
    width: int,
    height: int,
    eps2d: float = 0.3,
    near: float = 0.01,
    shift: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, H, W, C), transmittance (B, H, W), depth sums (B, H, W). ``shift`` (B, N, 2) pixels is added to the
    projected means."""
    shift = means.new_zeros(len(views), len(means), 2) if shift is None else shift
    cameras = [
        _one(means, quaternions, scales, opacities, features, view, k, width, height, eps2d, near, moved)
        for view, k, moved in zip(views, intrinsics, shift, strict=True)
    ]
    images, through, depth = zip(*cameras, strict=True)
    return torch.stack(images), torch.stack(through), torch.stack(depth)


def _one(means, quaternions, scales, opacities, features, view, k, width, height, eps2d, near, shift):  # type: ignore[no-untyped-def]
    turn, lift = view[:3, :3], view[:3, 3]
    x, y, z = (means @ turn.T + lift).unbind(-1)
    half = rotations(quaternions) * scales[:, None]
    covariance = turn @ (half @ half.transpose(1, 2)) @ turn.T
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    room_x, room_y = 0.15 * width / fx, 0.15 * height / fy  # 30 % of half the picture
    tx = (x / z).clamp(-cx / fx - room_x, (width - cx) / fx + room_x) * z
    ty = (y / z).clamp(-cy / fy - room_y, (height - cy) / fy + room_y) * z
    zero = torch.zeros_like(x)
    jacobian = torch.stack([fx / z, zero, -fx * tx / z**2, zero, fy / z, -fy * ty / z**2], -1).unflatten(-1, (2, 3))
    blurred = jacobian @ covariance @ jacobian.transpose(1, 2) + eps2d * torch.eye(2, dtype=means.dtype)
    inverse = torch.linalg.inv(blurred)
    u, v = fx * x / z + cx + shift[:, 0], fy * y / z + cy + shift[:, 1]
    rows = torch.arange(height, dtype=means.dtype) + 0.5
    columns = torch.arange(width, dtype=means.dtype) + 0.5
    values = torch.cat([features, z[:, None]], 1)
    image = means.new_zeros(height, width, values.shape[1])
    through = means.new_ones(height, width)
    done = torch.zeros(height, width, dtype=torch.bool)
    for n in torch.argsort(z.detach(), stable=True).tolist():
        if z[n] < near or opacities[n] < ALPHA_LEAST:
            continue
        dx, dy = (columns - u[n])[None], (rows - v[n])[:, None]
        sigma = 0.5 * (inverse[n, 0, 0] * dx**2 + inverse[n, 1, 1] * dy**2) + inverse[n, 0, 1] * dx * dy
        alpha = (opacities[n] * torch.exp(-sigma)).clamp_max(ALPHA_MOST)
        counts = (alpha >= ALPHA_LEAST) & ~done
        ends = counts & (through * (1 - alpha) <= TRANSMITTANCE_LEAST)
        done = done | ends
        alpha = torch.where(counts & ~ends, alpha, torch.zeros_like(alpha))
        image = image + (alpha * through)[..., None] * values[n]
        through = through * (1 - alpha)
    return image[..., :-1], through, image[..., -1]


def scene(count: int, width: int, height: int, cameras: int = 2, seed: int = 0) -> list[Tensor]:
    """Random Gaussians in front of cameras that stand on an arc around them, float64."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draw, dtype=torch.float64)

    views = torch.eye(4, dtype=torch.float64).repeat(cameras, 1, 1)
    views[:, 2, 3] = 3
    for camera in range(cameras):
        c, s = math.cos(0.4 * camera), math.sin(0.4 * camera)
        views[camera, :3, :3] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    k = torch.tensor([[1.4 * width, 0, width / 2], [0, 1.4 * width, height / 2], [0, 0, 1]], dtype=torch.float64)
    return [
        0.5 * normal(count, 3),
        normal(count, 4),
        0.01 + 0.12 * uniform(count, 3),
        0.01 + 0.98 * uniform(count),
        uniform(count, 3),
        views,
        k.repeat(cameras, 1, 1),
    ]
