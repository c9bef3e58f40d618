"""One portrait's Gaussians on Anny's head, moved by Eq. 5 and seen by a driver's camera."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from avatarbench.gaussians.head import GaussianHead
from avatarbench.gaussians.render import render
from avatarbench.method import Motion
from avatarbench.tracking import driving
from avatarbench.tracking.anny_fit import AnnyFit


class PointAvatar:
    """``head``: the canonical Gaussians, whose transfer of the rig's attributes is made once and serves every frame;
    ``fit``: the head as the portrait shows it; ``info``: how many Gaussians there are and the seconds that making them
    took, a stage each, and, where there were some, ``tries`` of the generation. Each frame is rendered by itself."""

    def __init__(
        self, head: GaussianHead, fit: AnnyFit, seconds: Mapping[str, float], tries: int | None = None
    ) -> None:
        self.head, self.fit = head, fit
        self.info = {"gaussians": float(len(head.cloud))} | {f"{stage}_seconds": s for stage, s in seconds.items()}
        if tries is not None:
            self.info["generation_tries"] = float(tries)
        self.save = head.save

    def render(self, motion: Motion) -> NDArray[np.float32]:
        """(H, W, 3) in [0, 1] in the portrait's size, on white. Raises Unscorable where the driver has no face."""
        moved = driving.followed(motion, self.fit)
        expression, joints, place = map(torch.from_numpy, (moved.expression, moved.joints, moved.translation))
        with torch.no_grad():
            posed = self.head.posed(expression, joints, place)
            image = render(posed, [moved.camera], background=torch.ones(3)).image[0]
        return np.asarray(image.clamp(0, 1).numpy(), np.float32)
