"""A picture in space: layers of Gaussians taken from arrays over its pixels."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.gaussians.cloud import Cloud
from avatarbench.heads import quaternions
from avatarbench.method import Camera

from .projection import lift

Floats = NDArray[np.float32]

SIZE = 0.62
"""Deviation of a Gaussian over the spacing of its grid."""
OVERLAP = 2.4
"""Gaussians that cover a pixel between them, whose opacities have to come to the pixel's share."""
HIDDEN_OPACITY = 0.95
MOST_SHARE = 0.999


@dataclass(frozen=True)
class Surround:
    """``cloud``: in the portrait's pose, bound to nothing yet; ``follow`` (N,) in [0, 1]: how far each goes with the
    head; ``trust`` (N,): how far the photograph shows its colour."""

    cloud: Cloud
    follow: Tensor
    trust: Tensor


@dataclass(frozen=True)
class Sheet:
    """Arrays (H, W) over a picture that ``camera`` sees: ``depth`` metres along its axis, ``colour`` (H, W, 3),
    ``share`` of the person in a pixel, ``follow``, ``trust``, and ``hidden``: what the head covers. ``pixels``
    (H, W, 2): the camera's coordinates of their centres."""

    depth: Floats
    colour: Floats
    share: Floats
    follow: Floats
    trust: Floats
    hidden: NDArray[np.bool_]
    pixels: Tensor
    camera: Camera

    def layer(
        self, where: NDArray[np.bool_], step: int, behind: Floats | None = None, long: Floats | None = None
    ) -> Surround:
        """Every ``step``-th pixel of ``where`` (H, W), as many metres further back as ``behind`` (H, W) says.

        ``long`` (H, W) metres: how far apart the layers are that fill a volume; the photograph shows none of these.
        """
        height, width = where.shape
        rows, columns = (v.ravel() for v in np.mgrid[step // 2 : height : step, step // 2 : width : step])
        chosen = where[rows, columns]
        here = rows[chosen], columns[chosen]
        depth = torch.from_numpy(self.depth[here] if behind is None else self.depth[here] + behind[here])
        scales = (SIZE * step * depth / float(self.camera.K[0, 0]))[:, None].repeat(1, 3)
        if long is not None:
            scales[:, 2] += SIZE * torch.from_numpy(long[here])
        clear = (1 - np.minimum(self.share[here], MOST_SHARE)) ** (1 / OVERLAP)
        opacity = np.where(self.hidden[here], HIDDEN_OPACITY, 1 - clear)
        axes = torch.as_tensor(self.camera.world_to_camera[:3, :3].T.copy(), dtype=torch.float32)
        cloud = Cloud(
            lift(self.pixels[here], depth, self.camera),
            quaternions.from_matrix(axes).repeat(len(depth), 1),
            scales,
            torch.from_numpy(opacity.astype(np.float32)),
            torch.from_numpy(self.colour[here]),
        )
        trust = torch.from_numpy(self.trust[here] if long is None else np.zeros(len(depth), np.float32))
        return Surround(cloud, torch.from_numpy(self.follow[here]), trust)


def joined(parts: list[Surround]) -> Surround:
    """All of them as one, in their order."""
    cloud = together([part.cloud for part in parts])
    return Surround(cloud, torch.cat([p.follow for p in parts]), torch.cat([p.trust for p in parts]))


def together(clouds: list[Cloud]) -> Cloud:
    """One cloud of several, in their order; all of them are bound, or none."""
    names = [field.name for field in fields(Cloud) if getattr(clouds[0], field.name) is not None]
    return Cloud(**{name: torch.cat([getattr(cloud, name) for cloud in clouds]) for name in names})
