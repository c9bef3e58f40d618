"""Our Muon beside PyTorch's, which rounds to bfloat16 within a step."""

from __future__ import annotations

import pytest
import torch

from avatarbench.methods.pointillist.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(24, 24), (48, 16), (16, 48)])
def test_steps_are_those_of_pytorchs_muon_up_to_its_rounding(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    begun = torch.randn(shape, generator=generator)
    ours, theirs = (begun.clone().requires_grad_() for _ in range(2))
    steps = (
        Muon([{"params": [ours]}], lr=0.01, weight_decay=0.1),
        torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(4):
        gradient = torch.randn(shape, generator=generator)
        for weight, optimiser in zip((ours, theirs), steps, strict=True):
            weight.grad = gradient.clone()
            optimiser.step()
    moved = (theirs - begun).detach().norm()
    assert (ours - theirs).detach().norm() < 0.02 * moved
    assert moved > 0.1


def test_pytorchs_state_goes_on() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 4))
    theirs = torch.optim.Muon([weight], lr=0.01)
    weight.grad = torch.eye(4)
    theirs.step()
    ours = Muon([{"params": [weight]}], lr=0.01, weight_decay=0.1)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours.state[weight]["momentum_buffer"], theirs.state[weight]["momentum_buffer"])


def test_singular_values_come_near_one_and_directions_stay() -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(12, 30, generator=generator)
    found = orthogonalised(matrix)
    values = torch.linalg.svdvals(found)
    assert 0.6 < values.min() <= values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    turned = left.T @ found @ right.T
    assert (turned - turned.diagonal().diag()).abs().max() < 1e-4
    assert not orthogonalised(torch.zeros(3, 5)).any()
