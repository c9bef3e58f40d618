"""The photometric loss of a fit, and the two terms that hold Gaussians to their triangles."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from avatarbench.fitting.config import Losses
from avatarbench.metrics.ssim import SIGMA, WINDOW

C1, C2 = 0.01**2, 0.03**2


def photometric(image: Tensor, target: Tensor, ssim_weight: float) -> Tensor:
    """(1 - w) L1 + w (1 - SSIM) of (B, H, W, 3) pictures in [0, 1]; a picture smaller than the window has no SSIM
    term."""
    absolute = (image - target).abs().mean()
    if min(image.shape[1:3]) < WINDOW or ssim_weight == 0:
        return absolute
    return (1 - ssim_weight) * absolute + ssim_weight * (1 - ssim(image, target))


def ssim(image: Tensor, target: Tensor) -> Tensor:
    """Mean of :func:`ssim_map`."""
    return ssim_map(image, target).mean()


def ssim_map(image: Tensor, target: Tensor) -> Tensor:
    """SSIM (B, 3, H, W) of (B, H, W, 3) in [0, 1], differentiable, with the window of the metric ``ssim`` and
    zero-padded borders, as splatting codes train with."""
    offset = torch.arange(WINDOW, dtype=image.dtype, device=image.device) - WINDOW // 2
    window = torch.exp(-(offset**2) / (2 * SIGMA**2))
    window = window / window.sum()
    x, y = image.permute(0, 3, 1, 2), target.permute(0, 3, 1, 2)
    maps = torch.cat([x, y, x * x, y * y, x * y], 1)
    channels, pad = maps.shape[1], WINDOW // 2
    rows = window.expand(channels, 1, WINDOW)
    maps = conv2d(maps, rows[:, :, None], groups=channels, padding=(0, pad))
    maps = conv2d(maps, rows[..., None], groups=channels, padding=(pad, 0))
    mx, my, xx, yy, xy = maps.chunk(5, 1)
    index = (2 * mx * my + C1) * (2 * (xy - mx * my) + C2)
    index = index / ((mx * mx + my * my + C1) * (xx - mx * mx + yy - my * my + C2))
    return index


def held(means: Tensor, scales: Tensor, visible: Tensor, config: Losses) -> Tensor:
    """GaussianAvatars' regularisers on the visible: local ``means`` (N, 3) beyond ``position_free``, local ``scales``
    (N, 3) beyond ``scale_free``; a Gaussian inside both costs nothing."""
    if not bool(visible.any()):
        return means.sum() * 0
    away = (means[visible].norm(dim=1) - config.position_free).clamp_min(0).mean()
    wide = (scales[visible] - config.scale_free).clamp_min(0).norm(dim=1).mean()
    return config.position * away + config.scale * wide
