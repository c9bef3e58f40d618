"""Consensus of draws: what is agreed on is nearer to all draws than any of them, and is told as any sequence is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avatarbench.errors import DataError, UsageError
from avatarbench.methods.pointillist.checkpoint import COUNTS, Loaded
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.consensus import agreed, central
from avatarbench.methods.pointillist.draw import draw, flaw, seed_of_draw
from avatarbench.methods.pointillist.engine import Engine, Progress
from avatarbench.methods.pointillist.engine.cpu import CpuStepper
from avatarbench.methods.pointillist.engine.graphs import TensorStepper
from avatarbench.methods.pointillist.engine.window import ROWS
from avatarbench.methods.pointillist.generate import options_of
from avatarbench.methods.pointillist.measures import chamfer, fault
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import SLOTS, Cube, Points, Tokenizer
from tests.units.test_pointillist_engine import contexts, engine, same, tiny


def scattered(count: int, seed: int, noise: float = 0.004) -> Points:
    """Points about a sphere of 10 cm, metres."""
    numbers = np.random.default_rng(seed)
    places = numbers.normal(size=(count, 3))
    places = 0.1 * places / np.linalg.norm(places, axis=1, keepdims=True) + noise * numbers.normal(size=(count, 3))
    return Points(torch.from_numpy(places).float(), torch.arange(count))


def mean_distance(cloud: Points, others: list[Points]) -> float:
    return float(np.mean([chamfer(cloud.positions, other.positions) for other in others]))


def off_the_sphere(cloud: Points) -> float:
    return float((cloud.positions.norm(dim=1) - 0.1).abs().mean())


def test_what_is_agreed_on_is_nearer_to_all_draws_and_to_what_they_were_drawn_of() -> None:
    draws = [scattered(300, seed) for seed in range(4)]
    found = agreed(draws)

    assert mean_distance(found, draws) < 0.95 * min(mean_distance(one, draws) for one in draws)
    assert off_the_sphere(found) < 0.7 * min(map(off_the_sphere, draws))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=2, max_size=4), st.integers(0, 2**32 - 1))
def test_points_keep_their_number_and_bindings_and_stay_among_the_draws(counts: list[int], seed: int) -> None:
    draws = [scattered(count, seed + number) for number, count in enumerate(counts)]
    found, start = agreed(draws), draws[central(draws)]
    places = torch.cat([one.positions for one in draws])

    assert torch.equal(found.bindings, start.bindings)
    assert found.positions.shape == start.positions.shape
    assert found.positions.dtype == torch.float32
    assert bool((found.positions >= places.amin(0) - 1e-6).all())
    assert bool((found.positions <= places.amax(0) + 1e-6).all())


def test_draws_that_agree_already_are_left_as_they_are() -> None:
    one = scattered(100, 0)
    assert torch.allclose(agreed([one, one, one]).positions, one.positions, atol=1e-7)
    assert agreed([one]) is one
    assert central([scattered(50, 1), one, scattered(100, 0, 0.005)]) in (1, 2)


def test_no_clouds_and_a_broken_one_are_refused() -> None:
    broken = Points(torch.full((3, 3), torch.nan), torch.arange(3))
    with pytest.raises(DataError, match="no clouds"):
        agreed([])
    with pytest.raises(DataError, match="not finite"):
        agreed([scattered(10, 0), broken])


@pytest.mark.parametrize("kind", [CpuStepper, TensorStepper])
@pytest.mark.parametrize("policy", ["refill", "roll"])
@pytest.mark.parametrize("points", [1, 5, 8, 9, 30])
def test_states_read_window_by_window_are_those_of_stepping(kind: Any, policy: Any, points: int) -> None:
    model = tiny()
    context, v = contexts(model, 2), model.vocabulary
    numbers = torch.Generator().manual_seed(1)
    places = torch.randint(v.levels, (2, points, SLOTS), generator=numbers)
    places[..., -1] = v.levels + places[..., -1] % v.faces
    tokens = torch.cat([torch.full((2, SLOTS), v.start), places.flatten(1)], 1)

    found = engine(model, kind).states(tokens, context, policy)

    assert torch.allclose(found, engine(model, kind).logits(tokens, context, policy).states, atol=1e-5)
    with pytest.raises(UsageError, match="whole number of points"):
        engine(model).states(tokens[:, :-1], context, policy)


def weights(model: StageOne, fewest: int = 0) -> Loaded:
    tokenizer = Tokenizer(model.vocabulary, Cube((-0.2, -0.2, -0.2), 0.4))
    return Loaded(model, model.config, tokenizer, (3, 4), "drawn", {COUNTS: [fewest, 40]})


def test_one_draw_is_the_engines_own() -> None:
    model = tiny(end=3)
    context, options = contexts(model, 2), Generate(points=40)
    plain = Engine(model).generate(context, options, [4, 5])

    assert all(map(same, draw(weights(model), Engine(model), context, options, [4, 5]), plain))


def test_a_consensus_is_of_the_seeds_draws_and_the_same_in_any_batch() -> None:
    model = tiny(end=3)
    loaded, context, options = weights(model), contexts(model, 3), Generate(points=40, consensus=3)
    found = draw(loaded, Engine(model), context, options, [0, 1, 2])
    (alone,) = draw(loaded, Engine(model), context[1:2], options, [1])

    seeds = [seed_of_draw(1, number) for number in range(3)]
    assert seeds[0] == 1
    assert len(set(seeds)) == 3
    drawn = Engine(model).generate(context[1:2].expand(3, -1, -1), Generate(points=40), seeds)
    clouds = [loaded.tokenizer.decode(one.tokens) for one in drawn if one.reason == "ended"]
    assert len(clouds) > 1
    assert torch.equal(loaded.tokenizer.encode(*agreed(clouds)).tokens, found[1].tokens)
    assert torch.equal(alone.tokens, found[1].tokens)
    assert torch.equal(alone.states, found[1].states)
    assert all(fault(one.tokens, model.vocabulary) is None and one.reason == "ended" for one in found)


@pytest.mark.parametrize("policy", ["refill", "roll"])
def test_tokens_are_read_on_the_engines_device_wherever_they_lie(policy: Any) -> None:
    model = tiny().to("meta")
    context, tokens = contexts(model, 1), torch.zeros(1, 36, dtype=torch.long)

    found = Engine(model).states(tokens, context, policy)
    told = Engine(model).logits(tokens[:, : 2 * SLOTS], context, policy)

    assert (found.device.type, found.shape) == ("meta", (1, 36, 16))
    assert (told.states.device.type, told.states.shape) == ("meta", (1, 8, 16))


def test_states_are_not_kept_where_nobody_asks_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny(end=3)
    context, options = contexts(model, 2), Generate(points=40)
    bare = Engine(model).generate(context, options, [4, 5], states=False)
    assert [one.states.shape for one in bare] == [(0, 16), (0, 16)]
    plain = Engine(model).generate(context, options, [4, 5])
    assert all(torch.equal(one.tokens, other.tokens) for one, other in zip(bare, plain, strict=True))

    generate, kept = Engine.generate, list[int]()

    def watched(*arguments: Any) -> Any:
        made = generate(*arguments)
        kept.extend(len(one.states) for one in made)
        return made

    monkeypatch.setattr(Engine, "generate", watched)
    (found,) = draw(weights(model), Engine(model), context[:1], Generate(points=40, consensus=3), [4])
    assert kept == [0, 0, 0]
    assert len(found.states) == len(found.tokens) - 2 * SLOTS


@pytest.mark.parametrize("guidance", [1, 2.5])
@pytest.mark.parametrize("policy", ["refill", "roll"])
def test_its_states_are_those_that_the_model_has_before_its_tokens(policy: Any, guidance: float) -> None:
    model = tiny()
    context, options = contexts(model, 1), Generate(points=60, consensus=4, policy=policy, guidance=guidance)
    (found,) = draw(weights(model), Engine(model), context, options, [3])
    told = Engine(model).logits(found.tokens[None, :-SLOTS], context, policy).states[0]

    assert len(found.tokens) > 32  # more than a window
    assert found.states.shape == (len(found.tokens) - 2 * SLOTS, 16)
    assert torch.allclose(found.states, told[SLOTS - 1 : -1], atol=1e-5)
    (bare,) = draw(weights(model), Engine(model), context, options, [3], states=False)
    assert torch.equal(bare.tokens, found.tokens)
    assert bare.states.shape == (0, 16)


def test_draws_that_are_no_whole_head_are_left_out() -> None:
    model = tiny()
    context, options = contexts(model, 1), Generate(points=12, consensus=6)
    seeds = [seed_of_draw(1, number) for number in range(6)]
    drawn = Engine(model).generate(context.expand(6, -1, -1), options, seeds)
    whole = [one for one in drawn if one.reason == "ended"]
    assert 1 < len(whole) < 6
    loaded = weights(model)

    (found,) = draw(loaded, Engine(model), context, options, [1])
    expected = agreed([loaded.tokenizer.decode(one.tokens) for one in whole])
    assert torch.equal(found.tokens, loaded.tokenizer.encode(*expected).tokens)
    assert found.left_out == 6 - len(whole)

    counts = [len(one.tokens) // SLOTS - 2 for one in whole]
    most = max(counts)
    assert counts.count(most) == 1
    for least, expected in ((most, whole[counts.index(most)]), (most + 1, drawn[0])):  # one head, and none
        few = weights(model, fewest=2 * least)
        (one,) = draw(few, Engine(model), context, options, [1])
        assert torch.equal(one.tokens, expected.tokens)
        assert torch.allclose(one.states, expected.states, atol=1e-5)
        assert (one.reason, one.left_out) == (expected.reason, 5)
        assert (flaw(one, few) is None) == (least == most)


def test_cancelled_it_is_no_consensus() -> None:
    model = tiny()
    told: list[Progress] = []

    def stop(progress: Progress) -> bool:
        told.append(progress)
        return progress.points[0] == 5

    options = Generate(points=40, consensus=3)
    found = draw(weights(model), Engine(model), contexts(model, 2), options, [0, 1], stop)

    assert [one.reason for one in found] == ["cancelled", "cancelled"]
    assert len(told[-1].points) == 6


def test_cancelled_a_subject_whose_draws_were_finished_has_its_consensus() -> None:
    model = tiny(end=3)
    loaded, context, options = weights(model), contexts(model, 2), Generate(points=40, consensus=ROWS)
    found = draw(loaded, Engine(model), context, options, [0, 1], lambda told: any(told.points[ROWS:]))
    (alone,) = draw(loaded, Engine(model), context[:1], options, [0])

    assert same(found[0], alone)
    assert alone.reason == "ended"
    assert found[1].reason == "cancelled"
    assert len(found[1].states) == len(found[1].tokens) - 2 * SLOTS


def test_a_count_of_draws_out_of_range_is_refused() -> None:
    assert options_of(Generate(), consensus=4).consensus == 4
    with pytest.raises(UsageError, match="consensus"):
        options_of(Generate(), consensus=0)
