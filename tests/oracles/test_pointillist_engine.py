"""The generation engine against x-transformers' own forward pass, window by window."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.engine import Engine
from avatarbench.methods.pointillist.engine.window import Policy
from avatarbench.methods.pointillist.stage_one import Output, StageOne

TOLERANCE = 1e-4


def random_model(
    order: Literal["acf", "caf"] = "acf", slots: bool = True, window: int = 32, width: int = 32, depth: int = 2
) -> StageOne:
    """Random weights, larger than at initialisation, so that attention is far from uniform."""
    config = Config.model_validate(
        {
            "levels": 24,
            "faces": 33,
            "points": {"samples": 16, "latents": 4, "width": 16, "depth": 1, "heads": 2, "bands": 2},
            "transformer": {
                "width": width, "depth": depth, "heads": 3, "head_width": 32, "order": order, "slots": slots,
            },
            "window": {"length": window, "step": window // 2},
        }
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = StageOne(config, (5, 8)).eval()
        for name, parameter in model.transformer.named_parameters():
            parameter.data += 0.2 * torch.randn(parameter.shape) if name.endswith((".g", "bias")) else parameter.data
    return model


def inputs(model: StageOne, batch: int, tokens: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    size = model.vocabulary.size
    context = torch.randn(batch, 9, model.config.transformer.width, generator=draw)
    return torch.randint(size, (batch, tokens), generator=draw), context


@torch.inference_mode()
def library(model: StageOne, tokens: Tensor, context: Tensor, policy: Policy) -> Output:
    """What x-transformers says: of windows that begin with the last half of the one before, or under a mask of bands of
    whole points."""
    window, total = model.config.window.length, tokens.shape[1]
    if policy == "roll":
        return _under_mask(model, tokens, context, window)
    half = window // 2
    logits, states = [], []
    for start in range(0, max(total - half + 1, 1), half):
        given = model(tokens[:, start : start + window], context)
        skip = half - 1 if start else 0
        last = start + window >= total + 1
        stop = None if last else window - 1
        logits.append(given.logits[:, skip:stop])
        states.append(given.states[:, skip:stop])
        if last:
            break
    return Output(torch.cat(logits, 1), torch.cat(states, 1))


def _under_mask(model: StageOne, tokens: Tensor, context: Tensor, window: int) -> Output:
    places = torch.arange(tokens.shape[1])
    oldest = (places // 4 * 4 + 4 - window).clamp(min=0)
    slots = {"slot": (places % 4).expand_as(tokens)} if model.config.transformer.slots else {}
    seen = model.transformer(
        tokens,
        context=context,
        embed_ids=slots,
        attn_mask=places[None, :] >= oldest[:, None],
        return_logits_and_embeddings=True,
    )
    return Output(*seen)


@pytest.mark.parametrize("policy", ["refill", "roll"])
@pytest.mark.parametrize("slots", [True, False])
@pytest.mark.parametrize("order", ["acf", "caf"])
@pytest.mark.parametrize("batch", [1, 3])
def test_agrees_with_x_transformers_over_several_windows(
    order: Literal["acf", "caf"], slots: bool, policy: Policy, batch: int
) -> None:
    model = random_model(order, slots)
    tokens, context = inputs(model, batch, 32 + 3 * 16 + 8)

    ours, theirs = Engine(model).logits(tokens, context, policy), library(model, tokens, context, policy)

    assert theirs.logits.std() > 0.3
    assert ours.logits.shape == theirs.logits.shape
    assert (ours.logits - theirs.logits).abs().max() < TOLERANCE
    assert (ours.states - theirs.states).abs().max() < TOLERANCE
