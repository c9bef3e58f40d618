"""The peer of the CPU renderer: splatting as a careful user writes it in PyTorch, float32, without compiling anything.

Gaussians are culled to 16 x 16 tiles by their 3.33-sigma boxes and sorted by depth once; a tile composites its list in
chunks, each checkpointed, so that memory is bounded by one chunk of one tile; a tile ends when all its pixels are
opaque.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

TILE, CHUNK = 16, 256


def rasterise(
    means: Tensor, quaternions: Tensor, scales: Tensor, opacities: Tensor, colours: Tensor, view: Tensor, k: Tensor,
    width: int, height: int,
) -> Tensor:  # fmt: skip
    """(H, W, 3) over black, for one camera."""
    u, v, conic, depth, extent = _project(means, quaternions, scales, view, k, width, height)
    with torch.no_grad():
        seen = (depth > 0.01) & (u + extent[0] > 0) & (u - extent[0] < width)
        seen &= (v + extent[1] > 0) & (v - extent[1] < height)
        order = torch.argsort(depth)
        order = order[seen[order]]
        left = ((u - extent[0]) / TILE).floor()[order]
        right = ((u + extent[0]) / TILE).floor()[order]
        top = ((v - extent[1]) / TILE).floor()[order]
        bottom = ((v + extent[1]) / TILE).floor()[order]
    rows = []
    for y in range(0, height, TILE):
        row = []
        in_row = (top <= y // TILE) & (bottom >= y // TILE)
        for x in range(0, width, TILE):
            chosen = order[in_row & (left <= x // TILE) & (right >= x // TILE)]
            ys = torch.arange(y, min(y + TILE, height)) + 0.5
            xs = torch.arange(x, min(x + TILE, width)) + 0.5
            row.append(_tile(chosen, u, v, conic, opacities, colours, ys, xs))
        rows.append(torch.cat(row, 1))
    return torch.cat(rows, 0)


def _tile(
    chosen: Tensor, u: Tensor, v: Tensor, conic: Tensor, opacities: Tensor, colours: Tensor, ys: Tensor, xs: Tensor
) -> Tensor:
    image, through = torch.zeros(len(ys), len(xs), 3), torch.ones(len(ys), len(xs))
    for part in chosen.split(CHUNK) if len(chosen) else ():
        inputs = (u[part], v[part], conic[part], opacities[part], colours[part], image, through, ys, xs)
        image, through = checkpoint(_composite, *inputs, use_reentrant=False)
        if bool((through < 1e-4).all()):
            break
    return image


def _composite(
    u: Tensor, v: Tensor, conic: Tensor, opacities: Tensor, colours: Tensor, image: Tensor, through: Tensor,
    ys: Tensor, xs: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    dx, dy = xs[None, None] - u[:, None, None], ys[None, :, None] - v[:, None, None]
    a, b, c = (conic[:, i, None, None] for i in range(3))
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = (opacities[:, None, None] * torch.exp(-sigma)).clamp_max(0.999)
    alpha = torch.where((alpha >= 1 / 255) & (sigma >= 0), alpha, torch.zeros_like(alpha))
    after = through * torch.cumprod(1 - alpha, 0)
    alpha = torch.where(after > 1e-4, alpha, torch.zeros_like(alpha))
    after = through * torch.cumprod(1 - alpha, 0)
    before = torch.cat([through[None], after[:-1]])
    return image + torch.einsum("nhw,nc->hwc", alpha * before, colours), after[-1]


def _project(
    means: Tensor, quaternions: Tensor, scales: Tensor, view: Tensor, k: Tensor, width: int, height: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    w, i, j, q = torch.nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rotation = torch.stack(
        [
            *(1 - 2 * (j * j + q * q), 2 * (i * j - w * q), 2 * (i * q + w * j)),
            *(2 * (i * j + w * q), 1 - 2 * (i * i + q * q), 2 * (j * q - w * i)),
            *(2 * (i * q - w * j), 2 * (j * q + w * i), 1 - 2 * (i * i + j * j)),
        ],
        -1,
    ).unflatten(-1, (3, 3))
    half = view[:3, :3] @ (rotation * scales[:, None])
    x, y, z = (means @ view[:3, :3].T + view[:3, 3]).unbind(-1)
    fx, fy, cx, cy = k[0, 0], k[1, 1], k[0, 2], k[1, 2]
    tx = (x / z).clamp(-cx / fx - 0.15 * width / fx, (width - cx) / fx + 0.15 * width / fx) * z
    ty = (y / z).clamp(-cy / fy - 0.15 * height / fy, (height - cy) / fy + 0.15 * height / fy) * z
    zero = torch.zeros_like(x)
    jacobian = torch.stack([fx / z, zero, -fx * tx / z**2, zero, fy / z, -fy * ty / z**2], -1).unflatten(-1, (2, 3))
    both = jacobian @ half
    covariance = both @ both.transpose(1, 2) + 0.3 * torch.eye(2)
    determinant = torch.linalg.det(covariance)
    conic = torch.stack([covariance[:, 1, 1], -covariance[:, 0, 1], covariance[:, 0, 0]], 1) / determinant[:, None]
    extent = (3.33 * covariance[:, 0, 0].sqrt(), 3.33 * covariance[:, 1, 1].sqrt())
    return fx * x / z + cx, fy * y / z + cy, conic, z, extent
