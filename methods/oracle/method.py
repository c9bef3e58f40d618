"""The ceiling: the true frame itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import Unscorable
from avatarbench.method import Motion, Portrait


class Oracle:
    """Builds avatars that know the answer."""

    def build(self, portrait: Portrait) -> Answer:
        return Answer()


class Answer:
    """Returns the motion's target."""

    def render(self, motion: Motion) -> NDArray[np.uint8]:
        """Raises Unscorable for a motion without a target; a protocol that provides targets gives every motion one."""
        if motion.target is None:
            raise Unscorable("this motion has no true frame")
        return motion.target.copy()
