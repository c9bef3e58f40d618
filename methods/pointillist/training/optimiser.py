"""What moves stage one's weights: the paper's AdamW, or Muon for the matrices between the layers' ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from avatarbench.methods.pointillist.config import Train
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.training.muon import Muon

SCALE = "scale"
"""Of a group of parameters: its rate over the schedule's."""


class Both:
    """Muon (Jordan et al. 2024) for the linear layers inside the transformer and the surface encoder,
    AdamW for what they lie between: embeddings, projections of inputs, the output layer, norms, biases, latents.

    Muon's steps are scaled to the size of AdamW's (Liu et al. 2025), so that one schedule serves both.
    """

    def __init__(self, model: StageOne, train: Train) -> None:
        within = [model.transformer, model.surface.gather, model.surface.blocks]
        hidden = [
            m.weight for part in within for m in part.modules() if isinstance(m, nn.Linear) and m is not model.head
        ]
        ours = {id(weight) for weight in hidden}
        rest = [
            {**group, "params": [p for p in group["params"] if id(p) not in ours]}
            for group in groups(model, train.weight_decay)
        ]
        self.parts: tuple[Muon, AdamW] = (
            Muon([{"params": hidden, SCALE: train.muon}], lr=train.rate, weight_decay=train.weight_decay),
            AdamW(rest, lr=train.rate),
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        return {type(part).__name__: part.state_dict() for part in self.parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises KeyError for the state of another optimiser."""
        for part in self.parts:
            part.load_state_dict(state[type(part).__name__])


def optimiser_of(model: StageOne, train: Train) -> AdamW | Both:
    """As ``train.optimiser`` says."""
    if train.optimiser == "muon":
        return Both(model, train)
    return torch.optim.AdamW(groups(model, train.weight_decay), lr=train.rate)


def groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's: the matrices of linear layers, which decay, and all else (norms, biases, embeddings, latents)."""
    matrices = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    return [
        {"params": [p for p in model.parameters() if id(p) in matrices], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if id(p) not in matrices], "weight_decay": 0.0},
    ]
