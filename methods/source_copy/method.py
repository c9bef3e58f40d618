"""The floor: no motion at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avatarbench.method import Motion, Portrait


class SourceCopy:
    """Builds avatars that stand still."""

    def build(self, portrait: Portrait) -> Still:
        return Still(portrait.image)


class Still:
    """The portrait, (H, W, 3) uint8, under every motion."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self.image = image

    def render(self, motion: Motion) -> NDArray[np.uint8]:
        return self.image.copy()
