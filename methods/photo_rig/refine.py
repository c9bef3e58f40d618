"""Colours with which the rendering is the photograph, where samples of it alone give a blurred one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.render import render
from avatarbench.method import Camera

from .projection import drawn

LEAST_SEEN = 0.15  # pixels: what is seen less than that hardly moves
REACH = 0.3
"""How far a colour may go from its sample: what is still missing then is an edge's place, and not a colour."""


def colours(
    cloud: Cloud, camera: Camera, image: NDArray[np.uint8], behind: NDArray[np.float32], trust: Tensor, steps: int
) -> Cloud:
    """The cloud with colours moved, ``steps`` times, by the mean residual under each Gaussian's weights (SIRT, Gilbert
    1972: the weights are positive and sum to at most one a pixel, so that no step overshoots).

    ``image`` (H, W, 3) sRGB is what ``camera`` should see in front of ``behind`` (H, W, 3). A colour moves as far as
    ``trust`` (N,) in [0, 1] says that the photograph shows it.
    """
    wanted = torch.from_numpy(image.astype(np.float32) / 255)
    low, high = ((cloud.colours + by).clamp(0, 1) for by in (-REACH, REACH))
    for _ in range(steps):
        now = render(cloud, [camera])
        residual = wanted - now.image[0] - (1 - now.alpha[0])[..., None] * torch.from_numpy(behind)
        weight, pulled = drawn(cloud, camera, residual)
        step = trust[:, None] * pulled / (weight + LEAST_SEEN)[:, None]
        cloud = replace(cloud, colours=(cloud.colours + step).maximum(low).minimum(high))
    return cloud
