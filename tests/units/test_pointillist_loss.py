"""The loss by slots is the cross-entropy of whole, masked logits; soft targets stay within the grammar."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from avatarbench.methods.pointillist.grammar import Grammar
from avatarbench.methods.pointillist.tokenizer import SLOTS, Cube, Tokenizer, Vocabulary, Y
from avatarbench.methods.pointillist.training.loss import KINDS, sums
from avatarbench.methods.pointillist.training.windows import cut

VOCABULARY = Vocabulary(16, 5)
TOKENIZER = Tokenizer(VOCABULARY, Cube((0.0, 0.0, 0.0), 1.0))
WIDTH = 8


def sequence(points: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    places = torch.rand(points, 3, generator=draw)
    return TOKENIZER.encode(places, torch.randint(VOCABULARY.faces, (points,), generator=draw)).tokens


def window(points: int, start: int, length: int, seed: int) -> tuple[Tensor, Tensor]:
    found = cut(sequence(points, seed), start, length, VOCABULARY.pad)
    return found.tokens[None], found.following[None]


def head_and_states(length: int, seed: int) -> tuple[nn.Linear, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    head = nn.Linear(WIDTH, VOCABULARY.size, bias=False)
    head.weight.data = torch.randn(VOCABULARY.size, WIDTH, generator=draw)
    return head, torch.randn(1, length, WIDTH, generator=draw).requires_grad_()


def soft_targets(targets: Tensor, smooth: float) -> Tensor:
    """(T, V): one target at a time."""
    v = VOCABULARY
    found = torch.zeros(len(targets), v.size)
    for t, target in enumerate(targets.tolist()):
        if target >= v.levels or not smooth or (t + 1) % SLOTS == Y:
            found[t, target] = 1
            continue
        reach = max(1, round(4 * smooth))
        for level in range(max(0, target - reach), min(v.levels, target + reach + 1)):
            found[t, level] = float(torch.exp(torch.tensor(-0.5 * ((level - target) / smooth) ** 2)))
        found[t] /= found[t].sum()
    return found


def reference(
    head: nn.Linear, states: Tensor, tokens: Tensor, following: Tensor, grammar: bool, smooth: float
) -> Tensor:
    """Summed cross-entropy of all logits, masked by the grammar's own mask."""
    logits = head(states)
    if grammar:
        logits = Grammar(VOCABULARY).mask(logits.clone(), tokens)
    asked = (following[0] != VOCABULARY.pad) & (following[0] != VOCABULARY.start)
    targets = soft_targets(following[0], smooth)[asked]
    logs = logits[0, asked].log_softmax(-1)
    return -(targets * torch.where(targets > 0, logs, 0.0)).sum()


@settings(max_examples=25, deadline=None)
@given(
    points=st.integers(1, 14),
    start=st.integers(0, 8),
    seed=st.integers(0, 50),
    grammar=st.booleans(),
    smooth=st.sampled_from([0.0, 0.6, 2.0]),
)
def test_it_is_the_cross_entropy_of_masked_logits_and_so_is_its_gradient(
    points: int, start: int, seed: int, grammar: bool, smooth: float
) -> None:
    length = 24
    start = min(SLOTS * start, SLOTS * points)  # the windows before, within, and at the sequence's end
    tokens, following = window(points, start, length, seed)
    head, states = head_and_states(length, seed)
    found = sums(states, head, VOCABULARY, tokens, following, grammar, smooth)
    wanted = reference(head, states, tokens, following, grammar, smooth)
    torch.testing.assert_close(found.loss, wanted, rtol=1e-5, atol=1e-4)
    ours, theirs = (
        torch.autograd.grad(value, [states, head.weight], retain_graph=True) for value in (found.loss, wanted)
    )
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_it_counts_each_kind_and_asks_neither_for_starts_nor_for_padding() -> None:
    points, length = 5, 40
    tokens, following = window(points, 0, length, 0)
    head, states = head_and_states(length, 0)
    found = sums(states, head, VOCABULARY, tokens, following)
    assert dict(zip(KINDS, found.counts.tolist(), strict=True)) == {"x": 5, "y": 5, "z": 5, "binding": 5, "end": 1}
    assert float(found.asked) == 4 * points + 4  # the end block's last three are asked, and cost nothing
    assert float(found.entropy.sum()) == pytest.approx(float(found.loss.detach()), rel=1e-5)


def test_a_later_window_asks_for_all_but_its_first_token() -> None:
    tokens, following = window(12, 8, 16, 0)
    head, states = head_and_states(16, 0)
    found = sums(states, head, VOCABULARY, tokens, following)
    assert found.counts.tolist() == [4, 4, 4, 4, 0]


def test_a_uniform_guess_costs_the_logarithm_of_what_is_allowed() -> None:
    tokens, following = window(12, 0, 16, 3)
    states = torch.zeros(1, 16, WIDTH)
    found = sums(states, nn.Linear(WIDTH, VOCABULARY.size, bias=False), VOCABULARY, tokens, following)
    by_kind = dict(zip(KINDS, (found.entropy / found.counts).tolist(), strict=True))
    assert by_kind["z"] == pytest.approx(torch.tensor(16.0).log().item())
    assert by_kind["binding"] == pytest.approx(torch.tensor(5.0).log().item())
    levels = torch.tensor([16.0] + [17.0] * 3)  # the first point cannot be the end
    assert by_kind["x"] == pytest.approx(levels.log().mean().item())


@pytest.mark.parametrize("smooth", [0.5, 3.0])
def test_a_soft_target_is_cheapest_at_the_true_level_and_cheaper_near_it_than_far(smooth: float) -> None:
    tokens, following = window(6, 0, 24, 1)
    at = 5  # predicts the first point's z
    level = int(following[0, at])
    costs = []
    for guess in range(VOCABULARY.levels):
        head = nn.Linear(VOCABULARY.size, VOCABULARY.size, bias=False)
        head.weight.data = torch.eye(VOCABULARY.size) * 4
        states = torch.zeros(1, 24, VOCABULARY.size)
        states[0, at, guess] = 1
        costs.append(float(sums(states, head, VOCABULARY, tokens, following, smooth=smooth).loss.detach()))
    assert costs.index(min(costs)) == level
    near = [costs[g] for g in range(16) if abs(g - level) == 1]
    far = [costs[g] for g in range(16) if abs(g - level) > 8 * smooth]
    assert not far or max(near) < min(far)
