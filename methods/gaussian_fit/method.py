"""The gaussian-fit reference: a head fitted on the person's own views, moved by what a tracker reads off the driver."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from avatarbench.errors import DataError, Unscorable
from avatarbench.fitting.config import load_preset
from avatarbench.gaussians.head import GaussianHead, load_head
from avatarbench.gaussians.render import render
from avatarbench.method import Motion, Portrait, Views
from avatarbench.tracking.anny_fit import fit_pose
from avatarbench.tracking.face_model import FaceModel, known_face

from .fitted import fitted, unfit


class GaussianFit:
    """Loads the avatars that ship with the data, and fits those that do not.

    ``preset``: of ``configs/fit``; ``overrides``: changes of it, ``key=value``. Both concern avatars that are fitted
    here.
    """

    def __init__(self, preset: str = "mini", overrides: Sequence[str] = ()) -> None:
        self._config = load_preset(preset, overrides)

    @staticmethod
    def lacking(people: Sequence[Views]) -> list[str]:
        """Why those of ``people`` that have no avatar could not be fitted, a line each."""
        return unfit([views for views in people if views.avatar is None])

    def build(self, portrait: Portrait) -> FittedHead:
        """Raises DataError for an avatar that ships and cannot be loaded, and where there is nothing to fit on."""
        views = portrait.views
        if views is None:
            raise DataError(f"the portrait '{portrait.id}' says nothing of its person's views.")
        if views.avatar is None:
            return FittedHead(fitted(views, self._config))
        return FittedHead(load_head(views.avatar))


class FittedHead:
    """One person's Gaussians. Each frame is rendered by itself: the order of frames does not count."""

    def __init__(self, head: GaussianHead) -> None:
        if head.rig.name != "anny":
            raise DataError(f"gaussian-fit is driven through Anny, and this avatar is bound to '{head.rig.name}'.")
        self.head = head
        self.info = {"gaussians": len(head.cloud)}
        self.save = head.save

    def render(self, motion: Motion) -> NDArray[np.float32]:
        """(H, W, 3) float32 in [0, 1] on white, seen by the motion's camera.

        Raises Unscorable where the driver has no face or the motion no camera.
        """
        if motion.face is None:
            raise Unscorable("no face found in the driver")
        if motion.camera is None:
            raise Unscorable("this motion has no calibrated camera")
        found = fit_pose(motion.face, self._face, motion.camera)
        with torch.no_grad():
            posed = self.head.posed(
                torch.from_numpy(found.expression), torch.from_numpy(found.joints), torch.from_numpy(found.translation)
            )
            image = render(posed, [motion.camera], background=torch.ones(3)).image[0]
        return np.asarray(image.clamp(0, 1).numpy(), np.float32)

    @cached_property
    def _face(self) -> FaceModel:
        """The tracker's model of this person's face: the shape is the avatar's, never the driver's."""
        return known_face(self.head.shape.numpy())
