"""Stage one's transformer: no token sees a later one, in any architecture or order of layers."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from avatarbench.methods.pointillist.config import Config, Transformer
from avatarbench.methods.pointillist.hourglass import Hourglass, Level
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.training.trainer import recompute
from tests.pointillist_tiny import tiny_config

FORMS = {
    "acf": {},
    "caf": {"order": "caf"},
    "without slots": {"slots": False},
    "hourglass": {"architecture": "hourglass", "shorten": (4,), "depth": 3},
    "hourglass of two levels": {"architecture": "hourglass", "shorten": (4, 2), "depth": 5},
    "hourglass, caf": {"architecture": "hourglass", "shorten": (4,), "depth": 3, "order": "caf", "slots": False},
}


def made(**transformer: object) -> StageOne:
    config = tiny_config()
    values = config.model_dump()
    values["transformer"] |= transformer
    torch.manual_seed(0)
    return StageOne(Config.model_validate(values), (4, 3)).eval()


def inputs(model: StageOne, length: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    tokens = torch.randint(model.vocabulary.size, (2, length), generator=draw)
    image, samples = torch.rand(2, 4, 3, generator=draw), torch.rand(2, 16, 6, generator=draw)
    with torch.no_grad():
        return tokens, model.condition(image, samples)


@pytest.mark.parametrize("form", FORMS)
def test_a_token_changes_no_logits_before_it_and_those_at_it(form: str) -> None:
    model, length = made(**FORMS[form]), 43  # the last group is not whole
    tokens, context = inputs(model, length)
    with torch.no_grad():
        before = model(tokens, context).logits
        for t in (0, 3, 4, 7, 16, 23, 39, length - 1):
            other = tokens.clone()
            other[:, t] = (other[:, t] + 1) % model.vocabulary.size
            after = model(other, context).logits
            torch.testing.assert_close(after[:, :t], before[:, :t], rtol=0, atol=1e-6)
            assert bool(((after - before)[:, t].abs() > 1e-4).any(-1).all())


@pytest.mark.parametrize("form", FORMS)
def test_the_context_reaches_every_token(form: str) -> None:
    model = made(**FORMS[form])
    tokens, context = inputs(model, 24)
    with torch.no_grad():
        moved = (model(tokens, context).logits - model(tokens, context + 0.5).logits).abs().amax(-1)
    assert bool((moved > 1e-4).all())


def test_states_and_the_head_are_x_transformers_own_forward() -> None:
    model = made()
    tokens, context = inputs(model, 24)
    slots = {"slot": torch.arange(24).expand_as(tokens) % 4}
    with torch.no_grad():
        logits, states = model.transformer(tokens, context=context, embed_ids=slots, return_logits_and_embeddings=True)
        found = model(tokens, context)
    assert torch.equal(found.logits, logits)
    assert torch.equal(found.states, states)


@pytest.mark.parametrize(("order", "types"), [("acf", ("a", "c", "f")), ("caf", ("c", "a", "f"))])
def test_layers_come_in_the_configured_order(order: str, types: tuple[str, ...]) -> None:
    assert tuple(made(order=order).transformer.attn_layers.layer_types) == types * 2


def test_inner_stacks_of_an_hourglass_see_shorter_sequences_and_share_all_layers() -> None:
    model = made(architecture="hourglass", shorten=(4, 2), depth=11)
    assert isinstance(model.transformer, Hourglass)
    outer = model.transformer.level
    assert isinstance(outer, Level)
    assert isinstance(outer.inner, Level)
    stacks = (outer.before, outer.inner.before, outer.inner.inner, outer.inner.after, outer.after)
    lengths: list[int] = []
    for stack in stacks:
        stack.register_forward_pre_hook(lambda _module, args: lengths.append(args[0].shape[1]))
    tokens, context = inputs(model, 48)
    model(tokens, context)
    assert lengths == [48, 12, 6, 12, 48]
    assert [len(stack.layers) // 3 for stack in stacks] == [2, 2, 3, 2, 2]


def test_a_group_is_told_of_as_soon_as_all_of_it_was_seen() -> None:
    """The first token of a point of four sees through the inner stack what the point before was: with all stacks
    passing on what they are given, the places 3 to 6 are told of tokens 0 to 3."""
    model = made(architecture="hourglass", shorten=(4,), depth=3)
    level = model.transformer.level
    assert isinstance(level, Level)
    level.before = level.after = _Same()
    level.inner = _Same()
    x = torch.randn(1, 12, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    out = level(x, context=torch.zeros(1, 1, 32))
    touched = [bool(torch.autograd.grad(out[0, t].sum(), x, retain_graph=True)[0][0, 0].any()) for t in range(12)]
    assert touched == [True, False, False, True, True, True, True, False, False, False, False, False]


class _Same(torch.nn.Module):
    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return x


def test_recomputing_blocks_changes_no_gradient() -> None:
    found = []
    for again in (False, True):
        model = made(dropout=0.3).train()
        if again:
            recompute(model)
        tokens, context = inputs(model, 16)
        torch.manual_seed(5)
        model(tokens, context).logits.square().mean().backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 20
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 4, "shorten": (4, 4)}, "has 5 stacks of layers and depth 4 does not fill them"),
        ({"shorten": ()}, "shortens at least once"),
        ({"shorten": (1,)}, "greater than or equal to 2"),
    ],
)
def test_an_hourglass_without_layers_for_its_stacks_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Transformer.model_validate({"architecture": "hourglass", **values})
