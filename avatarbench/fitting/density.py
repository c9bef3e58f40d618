"""How the number of Gaussians changes during a fit: densification, fading, and the constraint on what a face holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from avatarbench.fitting.config import Densify, Density
from avatarbench.fitting.gaussians import LocalGaussians
from avatarbench.gaussians.rigged import Frames
from avatarbench.heads import quaternions as quaternion

SHRINK = 1.6
"""A split Gaussian's two children are so much smaller (Kerbl et al. 2023)."""


@dataclass
class ScreenGradients:
    """Sums over steps, each (N,): of the screen-space gradient's length, of the views that saw a Gaussian, and of what
    it contributed to their pixels (its blending weights, as a share of the picture). ``views``: how many there were."""

    total: Tensor
    seen: Tensor
    weight: Tensor
    views: int = 0

    @classmethod
    def zeros(cls, count: int, device: torch.device) -> ScreenGradients:
        total, seen, weight = (torch.zeros(count, device=device) for _ in range(3))
        return cls(total, seen, weight)

    def add(self, shift_gradient: Tensor, radii: Tensor, weight: Tensor, width: int, height: int) -> None:
        """``shift_gradient`` (N, 2) in units of pixels, as the renderer gives it; ``radii`` (N,); ``weight`` (N,), sums
        over this view's pixels."""
        half = shift_gradient.new_tensor([width / 2, height / 2])
        visible = radii > 0
        self.total[visible] += (shift_gradient * half).norm(dim=1)[visible]
        self.seen[visible] += 1
        self.weight += weight / (width * height)
        self.views += 1

    def of(self, kept: Tensor) -> ScreenGradients:
        """Those of the Gaussians that a mask (N,) keeps."""
        return ScreenGradients(self.total[kept], self.seen[kept], self.weight[kept], self.views)

    def mean(self) -> Tensor:
        return self.total / self.seen.clamp_min(1)


def densify(
    gaussians: LocalGaussians,
    gradients: ScreenGradients,
    frames: Frames,
    config: Densify,
    radius: float,
    room: int | None,
    draw: torch.Generator,
) -> None:
    """Clone small Gaussians whose screen position wants to move, split large ones; children inherit the binding.

    ``frames`` (F, ...): of the rest mesh, whose scale turns local sizes into metres; ``radius``: of the scene, metres;
    ``room``: at most so many are added, those with the largest gradients.
    """
    wish = gradients.mean()
    chosen = torch.nonzero(wish >= config.gradient)[:, 0]
    if room is not None and len(chosen) > max(room, 0):
        order = torch.argsort(wish[chosen], descending=True, stable=True)
        chosen = chosen[order[: max(room, 0)]].sort().values
    if len(chosen) == 0:
        return
    values = {name: value.detach() for name, value in gaussians.parameters.items()}
    size = values["scales"].exp().amax(1) * frames.scale[gaussians.bindings]
    large = size[chosen] > config.size * radius
    split, clone = chosen[large], chosen[~large]

    added = {name: [value[clone]] for name, value in values.items()}
    for _ in range(2):
        child = {name: value[split].clone() for name, value in values.items()}
        noise = torch.randn(len(split), 3, generator=draw).to(child["means"]) * child["scales"].exp()
        turn = quaternion.to_matrix(child["quaternions"])
        child["means"] = child["means"] + (turn @ noise[..., None])[..., 0]
        child["scales"] = child["scales"] - math.log(SHRINK)
        for name in added:
            added[name].append(child[name])
    bindings = torch.cat([gaussians.bindings[clone], gaussians.bindings[split], gaussians.bindings[split]])
    gaussians.append({name: torch.cat(parts) for name, parts in added.items()}, bindings)
    keep = torch.ones(len(gaussians), dtype=torch.bool, device=bindings.device)
    keep[split] = False
    gaussians.select(keep)


def drop_hidden(gaussians: LocalGaussians, gradients: ScreenGradients, share: float) -> ScreenGradients:
    """Remove what fills less than ``share`` of a mean view: the inside of a head of hair, and what no camera sees.

    The sums of those that stay.
    """
    if share == 0 or gradients.views == 0:
        return gradients
    keep = gradients.weight / gradients.views >= share
    if not bool(keep.any()):
        keep[gradients.weight.argmax()] = True  # a cloud is never empty
    gaussians.select(keep)
    return gradients.of(keep)


def prune(gaussians: LocalGaussians, config: Densify, density: Density) -> None:
    """Remove the faded. Without the constraint a face keeps its most opaque Gaussian, as in GaussianAvatars; with it,
    a face whose Gaussians all fade is dropped."""
    opacity = torch.sigmoid(gaussians.parameters["opacities"].detach())
    keep = opacity >= config.fade
    if not density.enabled:
        keep |= rank_in_face(gaussians.bindings, opacity) == 0
    if not bool(keep.any()):
        keep[opacity.argmax()] = True  # a cloud is never empty
    gaussians.select(keep)


def constrain(
    gaussians: LocalGaussians, density: Density, most_points: int | None, worth: Tensor, draw: torch.Generator
) -> None:
    """Bring every face to none or ``least`` to ``most`` Gaussians, and the cloud to at most ``most_points``.

    Above ``most`` the least opaque go. Below ``least`` the most opaque are doubled, a little apart and smaller. Where
    the points do not suffice for all faces, those of the least ``worth`` (F,) give theirs up.
    """
    if not density.enabled:
        return
    opacity = torch.sigmoid(gaussians.parameters["opacities"].detach())
    gaussians.select(rank_in_face(gaussians.bindings, opacity) < density.most)
    opacity = torch.sigmoid(gaussians.parameters["opacities"].detach())
    faces, place, counts = torch.unique(gaussians.bindings, return_inverse=True, return_counts=True)
    if most_points is not None:
        order = torch.argsort(worth[faces], descending=True, stable=True)
        needed = counts.clamp_min(density.least)[order].cumsum(0)
        kept = torch.zeros(len(faces), dtype=torch.bool, device=opacity.device)
        kept[order[needed <= max(most_points, density.least)]] = True
        if not bool(kept.any()):
            kept[order[0]] = True
        gaussians.select(kept[place])
        opacity = torch.sigmoid(gaussians.parameters["opacities"].detach())
        faces, place, counts = torch.unique(gaussians.bindings, return_inverse=True, return_counts=True)
    rank = rank_in_face(gaussians.bindings, opacity)
    short = (density.least - counts).clamp_min(0)[place]  # copies that this Gaussian's face lacks
    copies = torch.div(short - rank + counts[place] - 1, counts[place], rounding_mode="floor").clamp_min(0)
    source = torch.repeat_interleave(torch.arange(len(gaussians), device=copies.device), copies)
    if len(source) == 0:
        return
    new = {name: value.detach()[source].clone() for name, value in gaussians.parameters.items()}
    noise = torch.randn(len(source), 3, generator=draw).to(new["means"])
    new["means"] = new["means"] + 0.5 * new["scales"].exp() * noise
    new["scales"] = new["scales"] - math.log(SHRINK)
    gaussians.append(new, gaussians.bindings[source])


def rank_in_face(bindings: Tensor, opacity: Tensor) -> Tensor:
    """(N,): 0 for the most opaque Gaussian of a face, 1 for the next, ...; equals in the order they came."""
    order = torch.argsort(opacity, descending=True, stable=True)
    order = order[torch.argsort(bindings[order], stable=True)]
    ordered = bindings[order]
    new = torch.ones(len(order), dtype=torch.bool, device=order.device)
    new[1:] = ordered[1:] != ordered[:-1]
    index = torch.arange(len(order), device=order.device)
    starts = index[new][new.cumsum(0) - 1]
    rank = torch.empty_like(order)
    rank[order] = index - starts
    return rank
