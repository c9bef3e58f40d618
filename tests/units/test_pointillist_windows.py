"""Windows of a sequence: every token is learnt, every window comes once an epoch."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from avatarbench.methods.pointillist.config import Window
from avatarbench.methods.pointillist.training.windows import Order, cut, starts


@given(points=st.integers(1, 4000), length=st.integers(2, 200), step=st.integers(1, 200))
def test_windows_begin_at_points_reach_the_end_and_leave_nothing_out(points: int, length: int, step: int) -> None:
    window, tokens = Window(length=4 * length, step=4 * min(step, length)), 4 * points + 8
    found = list(starts(tokens, window))
    assert found[0] == 0
    assert all(start % 4 == 0 for start in found)
    assert all(b - a == window.step <= window.length for a, b in pairwise(found))
    assert found[-1] + window.length >= tokens
    assert len(found) == 1 or found[-2] + window.length < tokens


def test_a_window_holds_its_tokens_and_what_follows_each_and_is_padded_at_the_end() -> None:
    sequence = torch.arange(100, 120)
    middle = cut(sequence, 4, 8, -1)
    assert middle.tokens.tolist() == list(range(104, 112))
    assert middle.following.tolist() == list(range(105, 113))
    last = cut(sequence, 16, 8, -1)
    assert last.tokens.tolist() == [116, 117, 118, 119, -1, -1, -1, -1]
    assert last.following.tolist() == [117, 118, 119, -1, -1, -1, -1, -1]
    assert cut(sequence, 12, 8, -1).following.tolist() == [113, 114, 115, 116, 117, 118, 119, -1]


def test_every_window_of_everybody_comes_once_an_epoch_in_another_order_each() -> None:
    order = Order([2, 1, 4], seed=3)
    pairs = [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2), (2, 3)]
    epochs = [[order[7 * epoch + n] for n in range(7)] for epoch in range(5)]
    assert len(order) == 7
    assert all(sorted(epoch) == pairs for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


def test_the_order_is_the_seeds_wherever_one_begins() -> None:
    whole = [Order([5, 3], 1)[n] for n in range(40)]
    later = Order([5, 3], 1)
    assert [later[n] for n in (33, 2, 17)] == [whole[n] for n in (33, 2, 17)]
    assert [Order([5, 3], 2)[n] for n in range(40)] != whole
