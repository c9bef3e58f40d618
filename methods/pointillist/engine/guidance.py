"""Guided sampling: every subject is stepped twice, with its portrait and without."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.methods.pointillist.engine.sampling import guided
from avatarbench.methods.pointillist.engine.stepper import Stepper


class Guided:
    """A stepper of N subjects over ``inner``, one of 2 N rows, of which the second N are told nothing: their context is
    zeros, as ``train.blank`` shows it. States are those of the told rows."""

    def __init__(self, inner: Stepper, guidance: float) -> None:
        self._inner, self._guidance = inner, guidance
        self.window, self.points_at_once = inner.window, inner.points_at_once

    @property
    def rows(self) -> NDArray[np.int64]:
        return self._inner.rows[: len(self._inner.rows) // 2]

    def keep(self, going: NDArray[np.bool_]) -> None:
        self._inner.keep(np.concatenate([going, going]))

    def begin(self, tokens: Tensor) -> Tensor:
        return self._inner.begin(torch.cat([tokens, tokens]))[: len(tokens)]

    def refill(self, tokens: Tensor) -> None:
        self._inner.refill(torch.cat([tokens, tokens]))

    def feed(self, tokens: Tensor) -> Tensor:
        return self._inner.feed(torch.cat([tokens, tokens]))[: len(tokens)]

    def logits(self) -> Tensor:
        return guided(self._inner.logits(), len(self.rows), self._guidance)

    def points(self, draws: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        return self._inner.points(draws)

    def again(self, which: NDArray[np.bool_], draws: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        return self._inner.again(which, draws)
