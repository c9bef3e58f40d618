"""The generation engine against x-transformers' own forward pass, window by window."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from avatarbench.methods.pointillist.config import Config, Generate
from avatarbench.methods.pointillist.engine import Engine
from avatarbench.methods.pointillist.engine.cpu import CpuStepper
from avatarbench.methods.pointillist.engine.engine import Stepper
from avatarbench.methods.pointillist.engine.graphs import TensorStepper
from avatarbench.methods.pointillist.engine.window import Policy
from avatarbench.methods.pointillist.stage_one import Output, StageOne

TOLERANCE = 1e-4


def random_model(
    order: Literal["acf", "caf"] = "acf",
    slots: bool = True,
    window: int = 32,
    width: int = 32,
    depth: int = 2,
    head_width: int = 32,
    end_bias: float = 0.0,
) -> StageOne:
    """Random weights, those too that are zero at first. ``end_bias``: what the end's logit has of each state."""
    transformer = {"width": width, "depth": depth, "heads": 3, "head_width": head_width, "order": order, "slots": slots}
    points = {"samples": 16, "latents": 4, "width": 16, "depth": 1, "heads": 2, "bands": 2}
    shape = {"levels": 24, "faces": 33, "window": {"length": window, "step": window // 2}}
    config = Config.model_validate({**shape, "points": points, "transformer": transformer})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = StageOne(config, (5, 8)).eval()
        for name, parameter in model.transformer.named_parameters():
            if name.endswith((".g", "bias")):
                parameter.data += 0.2 * torch.randn(parameter.shape)
        model.head.weight.data[model.vocabulary.end] *= 1 + end_bias
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
    found = [model(tokens[:, start : start + window], context) for start in range(0, total - half, half)]
    parts = [Output(*(part[:, half if n else 0 :] for part in given)) for n, given in enumerate(found)]
    return Output(*(torch.cat(list(part), 1) for part in zip(*parts, strict=True)))


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


def worst(model: StageOne, batch: int, tokens: int, policy: Policy, kind: type[Stepper]) -> float:
    """The largest difference of a logit or a state anywhere in random sequences."""
    given, context = inputs(model, batch, tokens)
    engine = Engine(model)
    engine.kind = kind
    ours, theirs = engine.logits(given, context, policy), library(model, given, context, policy)
    assert ours.logits.shape == theirs.logits.shape
    assert theirs.logits.std() > 0.3
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("policy", ["refill", "roll"])
@pytest.mark.parametrize("slots", [True, False])
@pytest.mark.parametrize("order", ["acf", "caf"])
@pytest.mark.parametrize("batch", [1, 3])
def test_agrees_with_x_transformers_over_several_windows(
    order: Literal["acf", "caf"], slots: bool, policy: Policy, batch: int
) -> None:
    assert worst(random_model(order, slots), batch, 32 + 3 * 16 + 8, policy, CpuStepper) < TOLERANCE


@pytest.mark.parametrize(("order", "slots", "policy"), [("acf", True, "refill"), ("caf", False, "roll")])
def test_the_step_that_cuda_captures_agrees_too(order: Literal["acf", "caf"], slots: bool, policy: Policy) -> None:
    assert worst(random_model(order, slots), 3, 32 + 2 * 16 + 8, policy, TensorStepper) < TOLERANCE


@pytest.mark.parametrize("policy", ["refill", "roll"])
def test_agrees_in_mini_s_widths_where_the_cache_has_several_splits(policy: Policy) -> None:
    model = random_model(window=544, width=192, depth=6, head_width=64)
    assert worst(model, 1, 580, policy, CpuStepper) < TOLERANCE


def test_the_step_that_cuda_captures_agrees_where_the_cache_has_several_splits() -> None:
    assert worst(random_model(window=264), 1, 280, "roll", TensorStepper) < TOLERANCE


@pytest.mark.parametrize("kind", [CpuStepper, TensorStepper])
def test_generated_states_are_those_that_x_transformers_has_for_the_generated_tokens(kind: type[Stepper]) -> None:
    model = random_model()
    _, context = inputs(model, 2, 4)
    engine = Engine(model)
    engine.kind = kind

    for n, made in enumerate(engine.generate(context, Generate(points=25), seeds=[5, 6])):
        theirs = library(model, made.tokens[None, :-4], context[n : n + 1], "refill")
        assert len(made.tokens) == len(made.states) + 8 > 32 + 16
        assert (made.states - theirs.states[0, 3:-1]).abs().max() < TOLERANCE


@pytest.mark.parametrize("kind", [CpuStepper, TensorStepper])
def test_the_likeliest_token_is_that_of_the_grammar_s_own_mask(kind: type[Stepper]) -> None:
    model = random_model(end_bias=2.0)
    _, context = inputs(model, 3, 4)
    engine = Engine(model)
    engine.kind = kind

    for n, made in enumerate(engine.generate(context, Generate(points=30, temperature=0), seeds=[0] * 3)):
        given = made.tokens[None, :-4]
        logits = model.grammar.mask(library(model, given, context[n : n + 1], "refill").logits.clone(), given)
        assert torch.equal(logits[0, 3:-1].argmax(-1), made.tokens[4:-4])
        assert (made.reason == "ended") == bool(logits[0, -1].argmax() == model.vocabulary.end)
