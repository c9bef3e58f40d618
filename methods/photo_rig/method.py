"""The photo-rig baseline: one photograph on a head rig, as Gaussians that move with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.errors import Unscorable
from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import GaussianHead
from avatarbench.gaussians.render import render
from avatarbench.gaussians.rigged import face_frames, to_local, to_world
from avatarbench.method import Motion, Portrait
from avatarbench.openheads.state import HeadState
from avatarbench.tracking import driving
from avatarbench.tracking.anny_fit import AnnyFit

from . import refine, surface, surround
from .anatomy import Anatomy, anatomy
from .foreground import Layers, separate
from .sheet import together

GRID = 256
"""Pixels of a picture's shorter side from which on what is beside the head gets fewer Gaussians than pixels."""


class PhotoRig:
    """Builds avatars. It has no weights and learns nothing beyond its one photograph.

    ``refinements``: how often the colours are corrected by what the rendering still misses of the photograph.
    """

    def __init__(self, refinements: int = 12) -> None:
        self.refinements = refinements

    def build(self, portrait: Portrait) -> RiggedPhoto:
        """Raises Unscorable where no face was found in the portrait, or none that can be fitted."""
        height, width = portrait.image.shape[:2]
        fit = driving.fitted(portrait.face, (width, height), portrait.camera)
        here = anatomy()
        bare = surface.discs_of(fit, here)
        covered = render(bare.cloud, [fit.camera]).alpha[0].numpy()
        if not (covered > surround.SOLID).any():
            raise Unscorable("the head that was fitted to the portrait's face lies outside the portrait")
        layers = separate(portrait, covered)
        skin = surface.coloured(bare, fit, here, layers, covered)
        alone = render(skin.cloud, [fit.camera])
        joint, step = torch.from_numpy(fit.translation), max(1, round(min(height, width) / GRID))
        alpha, depth = alone.alpha[0].numpy(), alone.depth[0].numpy()
        around = surround.build(layers, alpha, depth, joint, fit.camera, step)
        bindings = torch.where(around.follow > 0, here.skull, here.foot)
        cloud = together([skin.cloud, replace(around.cloud, bindings=bindings)])
        trust = torch.cat([skin.trust, around.trust])
        cloud = refine.colours(cloud, fit.camera, portrait.image, layers.background, trust, self.refinements)
        follow = torch.cat([skin.cells.points(here.follow[:, None], here.rig.faces)[:, 0], around.follow])
        return RiggedPhoto(cloud, follow, layers, fit, here)


class RiggedPhoto:
    """One portrait on the rig. ``head``: its Gaussians at rest; ``follow`` (N,) in [0, 1]: how far each goes with the
    head, the others staying where the portrait has them; ``info``: how many there are."""

    def __init__(self, cloud: Cloud, follow: Tensor, layers: Layers, fit: AnnyFit, here: Anatomy) -> None:
        """``cloud``: in the portrait's pose, bound to the rig's faces."""
        self.head = _at_rest(cloud, fit, here)
        self.follow = follow
        self.fit = fit
        self.info = {"gaussians": float(len(cloud))}
        self.save = self.head.save
        self._still = cloud.means
        self._background = layers.background

    def render(self, motion: Motion) -> NDArray[np.float32]:
        """(H, W, 3) in [0, 1], in the portrait's size. Raises Unscorable where the driver has no face."""
        moved = driving.followed(motion, self.fit)
        drawn = render(self.posed(moved.state), [moved.camera])
        behind = (1 - drawn.alpha[0].numpy())[..., None] * self._background
        return np.clip(drawn.image[0].numpy() + behind, 0, 1)

    def posed(self, state: HeadState) -> Cloud:
        """The cloud under a state of the rig."""
        expression, joints = torch.from_numpy(state.expression), torch.from_numpy(state.joints)
        moved = self.head.posed(expression, joints, torch.from_numpy(state.translation))
        return replace(moved, means=torch.lerp(self._still, moved.means, self.follow[:, None]))


def _at_rest(cloud: Cloud, fit: AnnyFit, here: Anatomy) -> GaussianHead:
    assert cloud.bindings is not None
    shape = torch.from_numpy(fit.shape)
    rest, _ = here.rig.rest(shape[None], shape.new_zeros(1, 0))
    posed, neutral = (face_frames(v, here.rig.faces) for v in (torch.from_numpy(fit.vertices()), rest[0]))
    local = to_local(cloud, posed.of(cloud.bindings))
    return GaussianHead(to_world(local, neutral.of(cloud.bindings)), here.rig, shape)
