"""The method of benchmarks/isolation.py, for the worker and for its own process."""

from __future__ import annotations

from typing import Any

import numpy as np

_FACTOR = np.random.default_rng(1).standard_normal((192, 192))
_PRODUCT = np.empty_like(_FACTOR)


def work(repeats: int) -> float:
    """Real work, of which ``repeats`` says how much. It allocates nothing: what an allocator keeps differs between two
    processes of the same code."""
    total = 0.0
    for _ in range(repeats):
        total += np.matmul(_FACTOR, _FACTOR, out=_PRODUCT)[0, 0]
    return total


class Shim:
    def __init__(self, options: dict[str, Any], job: str) -> None:
        self.repeats = options["repeats"]

    def build(self, portrait: dict[str, Any]) -> None:
        self.image = portrait["image"]

    def render(self, motion: dict[str, Any]) -> np.ndarray:
        image = self.image.copy()
        image[0, 0] = motion["index"] % 256, int(abs(work(self.repeats))) % 256, motion["image"][0, 0, 0]
        return image
