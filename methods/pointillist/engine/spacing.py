"""Points that keep apart: what is drawn too near to an earlier point is drawn again.

A model that has seen few people places points more independently of each other than the fits it learnt from, and what
lies on one heap is missing elsewhere. Each try is a draw from the model's own distribution of the next point, so that
what is accepted comes from that distribution given that the point is free (rejection sampling).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avatarbench.methods.pointillist.tokenizer import Vocabulary

TRIES = 10
"""Draws of one point after its first; the last one stays, wherever it is."""
AXES = 3


class Apart:
    """The points of ``count`` subjects so far, at most ``bound`` and one more each, and whether another one is nearer
    than ``spacing`` levels to one of its subject's."""

    def __init__(self, vocabulary: Vocabulary, spacing: float, bound: int, count: int) -> None:
        self._levels, self._squared = vocabulary.levels, spacing**2
        self._points = np.empty((count, 0, AXES), np.int64)
        self._counts, self._bound = np.zeros(count, np.int64), bound + 1

    def near(self, subject: int, block: Tensor) -> bool:
        """``block`` (4,): tokens of a point; an end, or no point at all, is near nothing."""
        place = block[:AXES].numpy()
        if (place >= self._levels).any():
            return False
        between = self._points[subject, : self._counts[subject]] - place
        return bool(((between**2).sum(1) < self._squared).any())

    def add(self, subject: int, block: Tensor) -> None:
        place: NDArray[np.int64] = block[:AXES].numpy()
        if (place >= self._levels).any():
            return
        if self._counts[subject] == self._points.shape[1]:
            more = min(max(256, self._points.shape[1]), self._bound - self._points.shape[1])
            self._points = np.pad(self._points, ((0, 0), (0, more), (0, 0)))
        self._points[subject, self._counts[subject]] = place
        self._counts[subject] += 1
