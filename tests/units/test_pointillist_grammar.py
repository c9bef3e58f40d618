"""AvatarPointillist's grammar: what is true is always allowed, what breaks a rule never, one step as whole windows."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avatarbench.methods.pointillist.grammar import Grammar
from avatarbench.methods.pointillist.tokenizer import BINDING, SLOTS, Cube, Tokenizer, Vocabulary, X, Y

V = Vocabulary(9, 6)
S, E, P = V.start, V.end, V.pad
GRAMMAR = Grammar(V)
TOKENIZER = Tokenizer(V, Cube((0.0, 0.0, 0.0), 1.0))


class Window(NamedTuple):
    """``tokens`` of a valid sequence from ``first``, a multiple of four, and the one that comes ``after`` them."""

    tokens: Tensor
    first: int
    after: Tensor


@st.composite
def windows(draw: st.DrawFn) -> Window:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    count = draw(st.integers(1, 8))
    bindings = torch.randint(V.faces, (count,), generator=generator)
    encoded = TOKENIZER.encode(torch.rand(count, 3, generator=generator), bindings).tokens
    whole = torch.cat([encoded, torch.full((SLOTS * draw(st.integers(1, 3)),), P)])
    first = SLOTS * draw(st.integers(0, len(whole) // SLOTS - 1))
    last = draw(st.integers(first + 1, len(whole) - 1))
    return Window(whole[first:last], first, whole[last])


def mask(tokens: Tensor | list[int]) -> Tensor:
    """(T, V) bool: what the grammar leaves after each of ``tokens`` (T,)."""
    tokens = torch.as_tensor(tokens)
    logits = torch.randn(1, len(tokens), V.size, generator=torch.Generator().manual_seed(0))
    found = GRAMMAR.mask(logits, tokens[None])[0]
    kept = torch.isfinite(found)
    assert torch.equal(found[kept], logits[0][kept])
    assert bool((found[~kept] == -torch.inf).all())
    return kept


def by_the_rules(tokens: list[int]) -> set[int]:
    """What may follow a window's ``tokens``, read off the rules one by one."""
    slot, everything = len(tokens) % SLOTS, set(range(V.size))
    last = tokens[-1]
    if last == P or (last == E and slot == 0):
        return everything
    if last == E:
        return {E}
    if last == S and slot != 0:
        return {S}
    if slot == BINDING:
        return set(range(V.levels, V.start))
    if slot == X:
        return set(range(V.levels)) | (set() if last == S else {E})
    if slot == Y:
        before = tokens[-SLOTS] if len(tokens) > SLOTS else 0  # the y before this x: four tokens before what comes
        return set(range(before if before < V.levels else 0, V.levels))
    return set(range(V.levels))


@settings(max_examples=200, deadline=None)
@given(windows())
def test_the_true_next_token_is_always_allowed(window: Window) -> None:
    kept = mask(window.tokens)
    following = torch.cat([window.tokens[1:], window.after[None]])
    assert bool(kept[torch.arange(len(following)), following].all())


@settings(max_examples=100, deadline=None)
@given(windows())
def test_the_mask_is_the_rules_one_by_one(window: Window) -> None:
    kept, tokens = mask(window.tokens), window.tokens.tolist()
    for at in range(len(tokens)):
        assert set(torch.nonzero(kept[at])[:, 0].tolist()) == by_the_rules(tokens[: at + 1])


@settings(max_examples=100, deadline=None)
@given(windows())
def test_one_step_allows_what_the_window_does(window: Window) -> None:
    """Whoever generates keeps the last y, and whether a point or the end came."""
    kept, tokens = mask(window.tokens), window.tokens.tolist()
    floor, ended, first = 0, False, tokens[0] == S
    for at, token in enumerate(tokens):
        slot = (at + 1) % SLOTS
        if token < V.levels:
            first = False
            floor = token if at % SLOTS == Y else floor
        ended |= token == E
        if token == P or (token == S and slot != 0) or (ended and slot == 0):
            continue  # nobody generates the start block, or goes on after the end
        step = GRAMMAR.allowed(slot, torch.tensor([floor]), torch.tensor([ended]), torch.tensor([first]))
        assert torch.equal(step[0], kept[at])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_whatever_is_drawn_under_the_grammar_is_a_cloud(seed: int, most: int) -> None:
    """Noise for logits: the mask alone makes the sequence."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.full((1, SLOTS), S)
    while not bool((tokens[0, -SLOTS:] == E).all()):
        logits = torch.randn(1, tokens.shape[1], V.size, generator=generator)
        if tokens.shape[1] % SLOTS == 0 and tokens.shape[1] >= SLOTS * (1 + most):
            logits[..., E] = 1e3
        drawn = GRAMMAR.mask_(logits, tokens)[:, -1].argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, drawn], 1)
    points = TOKENIZER.decode(tokens[0])
    ys = TOKENIZER.rows(tokens[0])[:, Y]
    assert 1 <= len(points.positions) <= most
    assert bool((ys[1:] >= ys[:-1]).all())


POINT = [2, 5, 3, V.levels + 1]


@pytest.mark.parametrize(
    ("before", "token"),
    [
        ([S, S], 3),  # within the start block
        ([S, S, S], E),
        ([S] * 4, E),  # no point yet
        ([S] * 4, S),
        ([S] * 4, P),
        ([S] * 4, V.levels),  # a binding in x' place
        ([S] * 4 + POINT[:1], V.levels + 2),
        ([S] * 4 + POINT[:2], V.start - 1),
        ([S] * 4 + POINT[:1], E),  # the end within a point
        ([S] * 4 + POINT[:2], E),
        ([S] * 4 + POINT[:3], E),
        ([S] * 4 + POINT[:3], V.levels - 1),  # a coordinate in the binding's place
        ([S] * 4 + POINT[:3], P),
        ([*POINT, 1], 4),  # y decreases
        ([*POINT, *POINT, 8], 0),
        (POINT, S),
        (POINT, P),
        ([*POINT, E], 1),  # within the end block
        ([*POINT, E, E, E], P),
        ([*POINT, E, E], S),
    ],
)
def test_a_broken_rule_is_forbidden(before: list[int], token: int) -> None:
    assert not mask(before)[-1, token]


@pytest.mark.parametrize(
    ("before", "token"),
    [
        ([S] * 4, 0),
        ([*POINT, 1], 5),  # y as before
        ([*POINT, 1], 8),
        (POINT, E),
        ([2], 0),  # a window in the middle: the y before is not known
        ([*POINT, E, E, E], E),
        ([E] * 4, P),
        ([P] * 4, P),
        ([P], P),
    ],
)
def test_what_no_rule_forbids_is_allowed(before: list[int], token: int) -> None:
    assert mask(before)[-1, token]


def test_a_batch_is_masked_row_by_row() -> None:
    rows = torch.tensor([[S] * 4 + POINT, POINT + [E] * 4, [P] * 8, [*POINT, 1, 7, 2, V.levels]])
    logits = torch.randn(4, 8, V.size, generator=torch.Generator().manual_seed(1))
    together = GRAMMAR.mask(logits, rows)
    assert torch.equal(together, torch.cat([GRAMMAR.mask(logits[n : n + 1], rows[n : n + 1]) for n in range(4)]))


def test_the_mask_copies_and_its_other_form_writes_in_place() -> None:
    logits = torch.randn(1, 8, V.size, generator=torch.Generator().manual_seed(1))
    before, tokens = logits.clone(), torch.tensor([[S] * 4 + POINT])
    masked = GRAMMAR.mask(logits, tokens)
    assert torch.equal(logits, before)
    assert GRAMMAR.mask_(logits, tokens) is logits
    assert torch.equal(logits, masked)


def test_no_gradient_reaches_what_is_forbidden() -> None:
    logits = torch.randn(1, 8, V.size, generator=torch.Generator().manual_seed(1), requires_grad=True)
    tokens = torch.tensor([[S] * 4 + POINT])
    following = torch.tensor([[S] * 3 + POINT + [E]])
    masked = GRAMMAR.mask(logits, tokens)
    torch.nn.functional.cross_entropy(masked.transpose(1, 2), following).backward()
    assert logits.grad is not None
    assert bool((logits.grad[masked == -torch.inf] == 0).all())
    assert bool(torch.isfinite(logits.grad).all())
    assert bool((logits.grad[0, 4:, : V.levels].abs().sum(1) > 0)[[0, 1]].all())
