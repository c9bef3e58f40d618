"""What one frame of an OpenHeads head does: its exact truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class HeadState:
    """``expression``: (52,) float32, usually in [0, 1], in the order of ``AnnyRig.expression_names``;
    ``joints``: (8, 3) float32, axis-angle radians in the order of :data:`avatarbench.heads.anny.JOINTS`, rest-pose
    axes; ``translation``: (3,) float32 metres."""

    expression: NDArray[np.float32]
    joints: NDArray[np.float32]
    translation: NDArray[np.float32]

    @classmethod
    def neutral(cls) -> HeadState:
        """No expression, no rotation, no translation."""
        return cls(np.zeros(52, np.float32), np.zeros((8, 3), np.float32), np.zeros(3, np.float32))
