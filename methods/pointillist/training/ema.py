"""An exponential moving average of a model's weights: what is evaluated and kept."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ema:
    """Of ``model``, in ``average``, a second model of the same form.

    Step n (from 0) is weighted by 1 - min(``decay``, (1 + n) / (10 + n)), so that the random start is soon forgotten.
    """

    def __init__(self, model: nn.Module, average: nn.Module, decay: float) -> None:
        average.load_state_dict(model.state_dict())
        self.average = average.eval().requires_grad_(False)
        self.decay = decay
        self._ours = list[Tensor](average.parameters())
        self._theirs = list(model.parameters())

    @torch.no_grad()
    def update(self, step: int) -> None:
        keep = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._ours, [p.detach() for p in self._theirs], 1 - keep)
