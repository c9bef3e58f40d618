"""What the engine asks of a device's way of stepping."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.methods.pointillist.engine.window import Window


class Stepper(Protocol):
    """S subjects, all at the same token; N of them, ``rows``, still go on."""

    window: Window
    rows: NDArray[np.int64]
    points_at_once: int

    def keep(self, going: NDArray[np.bool_]) -> None:
        """Goes on with those of the N rows that ``going`` (N,) names."""

    def begin(self, tokens: Tensor) -> Tensor:
        """A first window that starts with ``tokens`` (N, T) -> their states (N, T, W)."""

    def refill(self, tokens: Tensor) -> None:
        """A new window that starts with ``tokens`` (N, T), the last ones of the old, which still predicts the next."""

    def feed(self, tokens: Tensor) -> Tensor:
        """One token (N,) each -> states (N, W)."""

    def logits(self) -> Tensor:
        """(N, V): what the last states say."""

    def points(self, draws: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Samples and feeds as many tokens as ``draws`` (N, T) has, from a point's start: these tokens (N, T), and the
        states that predicted them (N, T, W)."""

    def again(self, which: NDArray[np.bool_], draws: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Takes back the last point of those M of the N rows that ``which`` (N,) names, and samples it anew with
        ``draws`` (M, 4): its tokens (M, 4) and states (M, 4, W). ``points`` was called for one point, with a
        ``spacing``."""
