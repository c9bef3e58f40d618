"""Muon in the weights' own precision: torch.optim's works in bfloat16, 20 times as slow on a CPU without AMX."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the odd polynomial that drives singular values towards one (Jordan et al. 2024); five times, they lie in about
[0.7, 1.2]."""
TIMES = 5
RMS = 0.2
"""Of AdamW's steps, which these are scaled to (Liu et al. 2025, equation 4)."""


class Muon(Optimizer):
    """For matrices. The gradient's running mean with Nesterov's look ahead, made nearly orthogonal, times ``lr`` and
    0.2 sqrt(the longer side); the decay is AdamW's. Steps equal those of torch.optim.Muon with ``match_rms_adamw`` up
    to rounding, and its state can be loaded."""

    def __init__(
        self, params: Iterable[dict[str, Any]], lr: float, weight_decay: float, momentum: float = 0.95
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no optimiser here looks twice
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                mean = state.setdefault("momentum_buffer", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonalised(weight.grad.lerp(mean, group["momentum"]))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * RMS * math.sqrt(max(weight.shape)))


def orthogonalised(matrix: Tensor) -> Tensor:
    """(M, N) with its singular values brought near one, by Newton and Schulz's iteration; zeros stay zeros."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    found = matrix.T if tall else matrix
    found = found / found.norm().clamp_min(1e-7)
    for _ in range(TIMES):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.T if tall else found
