"""Generation: seeds, batches, bounds, cancelling, what is refused, and the sampler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from avatarbench.errors import DataError, UsageError
from avatarbench.methods.pointillist.config import Config, Generate
from avatarbench.methods.pointillist.engine import Engine, Generated, Progress
from avatarbench.methods.pointillist.engine.cpu import CpuStepper
from avatarbench.methods.pointillist.engine.graphs import TensorStepper
from avatarbench.methods.pointillist.engine.sampling import Draws, Rules, sample, sample_rows
from avatarbench.methods.pointillist.engine.window import Window, spot_of
from avatarbench.methods.pointillist.grammar import Grammar
from avatarbench.methods.pointillist.measures import fault
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import SLOTS, Vocabulary

KINDS = [CpuStepper, TensorStepper]


def tiny(end: float = 0.0, grammar: bool = True, **transformer: Any) -> StageOne:
    """``end``: how much likelier the end is than in a model of random weights."""
    config = Config.model_validate(
        {
            "levels": 16,
            "faces": 20,
            "points": {"samples": 8, "latents": 2, "width": 8, "depth": 0, "heads": 1, "bands": 2},
            "transformer": {"width": 16, "depth": 2, "heads": 2, "head_width": 32, "slots": True} | transformer,
            "window": {"length": 32, "step": 16},
            "grammar": {"sampling": grammar},
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = StageOne(config, (3, 4)).eval()
        model.head.weight.data[model.vocabulary.end] *= 1 + end
    return model


def contexts(model: StageOne, count: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(count, 6, model.config.transformer.width, generator=draw)


def engine(model: StageOne, kind: Any = CpuStepper) -> Engine:
    made = Engine(model)
    made.kind = kind
    return made


def same(one: Generated, other: Generated) -> bool:
    return (
        torch.equal(one.tokens, other.tokens) and torch.equal(one.states, other.states) and one.reason == other.reason
    )


@pytest.mark.parametrize("policy", ["refill", "roll"])
def test_a_seed_gives_the_same_bits_in_any_batch(policy: Any) -> None:
    model = tiny(end=3)
    context, seeds, options = contexts(model, 10), range(10), Generate(points=40, policy=policy)
    alone = [engine(model).generate(context[n : n + 1], options, [seed])[0] for n, seed in enumerate(seeds)]

    together = engine(model).generate(context, options, seeds)
    mixed = engine(model).generate(context[[4, 0, 2]], options, [4, 0, 2])

    assert all(map(same, alone, together))
    assert all(map(same, [alone[4], alone[0], alone[2]], mixed))
    lengths = {len(made.tokens) for made in alone}
    assert len(lengths) > 3  # they end at different points, and the others go on
    assert max(lengths) > 2 * 32


def test_the_step_that_cuda_captures_generates_the_same_tokens() -> None:
    model = tiny(end=3)
    context, options = contexts(model, 3), Generate(points=40, top_k=12, top_p=0.9, temperature=0.8)

    ours = engine(model, CpuStepper).generate(context, options, [1, 2, 3])
    captured = engine(model, TensorStepper).generate(context, options, [1, 2, 3])

    for one, other in zip(ours, captured, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert one.reason == other.reason
        assert (one.states - other.states).abs().max() < 1e-4


def test_other_seeds_give_other_clouds_and_temperature_zero_the_same_one() -> None:
    model = tiny()
    context = contexts(model, 1).expand(2, -1, -1)

    warm = engine(model).generate(context, Generate(points=8), [1, 2])
    cold = engine(model).generate(context, Generate(points=8, temperature=0), [1, 2])

    assert not torch.equal(warm[0].tokens, warm[1].tokens)
    assert same(cold[0], cold[1])


@pytest.mark.parametrize("kind", KINDS)
def test_what_never_ends_stops_at_the_bound_and_is_a_cloud_all_the_same(kind: Any) -> None:
    model = tiny(end=-1)  # of logit zero, never the likeliest of seventeen
    made = engine(model, kind).generate(contexts(model, 2), Generate(points=19, temperature=0), [0, 1])

    for one in made:
        assert one.reason == "bound"
        assert len(one.tokens) == 4 * 19 + 8
        assert one.states.shape == (4 * 19, 16)
        assert fault(one.tokens, model.vocabulary) is None


def test_a_cloud_that_ends_just_at_the_bound_has_ended() -> None:
    model = tiny(end=3)
    context = contexts(model, 1)
    seed, free = next(
        (seed, made)
        for seed in range(50)
        for made in engine(model).generate(context, Generate(points=40), [seed])
        if made.reason == "ended" and len(made.states) > 4 * 3
    )
    points = len(free.states) // 4

    assert same(free, engine(model).generate(context, Generate(points=points), [seed])[0])
    less = engine(model).generate(context, Generate(points=points - 1), [seed])[0]
    assert less.reason == "bound"
    assert torch.equal(less.tokens[:-4], free.tokens[:-8])


def test_a_cancelled_generation_returns_the_points_so_far() -> None:
    model = tiny(end=-2)
    told: list[Progress] = []

    def watch(progress: Progress) -> bool:
        told.append(progress)
        return progress.points[0] == 5

    made = engine(model).generate(contexts(model, 2), Generate(points=50), [0, 1], watch)
    whole = engine(model).generate(contexts(model, 2), Generate(points=50), [0, 1])

    assert [one.reason for one in made] == ["cancelled"] * 2
    assert [progress.points for progress in told] == [(n, n) for n in range(1, 6)]
    assert all(progress.bound == 50 and progress.left and progress.left > 0 for progress in told)
    for one, other in zip(made, whole, strict=True):
        assert torch.equal(one.tokens[:-4], other.tokens[:24])
        assert torch.equal(one.states, other.states[:20])
        assert fault(one.tokens, model.vocabulary) is None


def test_cancelling_ends_the_groups_that_have_not_begun() -> None:
    model = tiny(end=-2)
    made = engine(model).generate(contexts(model, 9), Generate(points=5), range(9), lambda progress: True)

    assert {one.reason for one in made} == {"cancelled"}
    assert [len(one.states) for one in made] == [4] * 8 + [0]


def test_what_a_watcher_raises_comes_through_and_the_engine_goes_on_working() -> None:
    model = tiny()
    made = engine(model)
    expected = made.generate(contexts(model, 1), Generate(points=6), [0])[0]

    def watch(progress: Progress) -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.generate(contexts(model, 1), Generate(points=6), [0], watch)
    assert same(made.generate(contexts(model, 1), Generate(points=6), [0])[0], expected)


def test_without_the_grammar_sequences_are_left_as_they_were_sampled() -> None:
    model = tiny(grammar=False)
    made = engine(model).generate(contexts(model, 4), Generate(points=30), range(4))

    assert all(fault(one.tokens, model.vocabulary) for one in made)
    assert all(len(one.states) + 8 == len(one.tokens) for one in made)
    for one in made:
        assert not (one.tokens[4:-4] == model.vocabulary.end).any()
        assert (one.tokens[-4:] == model.vocabulary.end).any()


def test_weights_are_a_copy() -> None:
    model = tiny()
    made = engine(model)
    before = made.generate(contexts(model, 1), Generate(points=4), [0])[0]
    with torch.no_grad():
        model.head.weight.zero_()

    assert same(before, made.generate(contexts(model, 1), Generate(points=4), [0])[0])


@pytest.mark.parametrize("kind", KINDS)
def test_logits_that_are_not_finite_are_refused(kind: Any) -> None:
    model = tiny()
    with torch.no_grad():
        model.head.weight[3] = torch.nan

    with pytest.raises(DataError, match="not finite"):
        engine(model, kind).generate(contexts(model, 1), Generate(points=4), [0])


def test_other_architectures_and_options_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="hourglass"):
        Engine(tiny(architecture="hourglass", depth=5))

    model = tiny()
    model.transformer.attn_layers.layers[0][1].max_attend_past = 8  # type: ignore[union-attr,index]
    with pytest.raises(UsageError, match="max_attend_past"):
        Engine(model)

    model = tiny()
    model.transformer.post_emb_norm = torch.nn.LayerNorm(16)
    with pytest.raises(UsageError, match="LayerNorm"):
        Engine(model)

    with pytest.raises(UsageError, match="single head"):
        Engine(tiny(heads=1, head_width=32, width=32))

    with pytest.raises(UsageError, match="float32"):
        Engine(tiny(), torch.bfloat16)


def test_seeds_and_contexts_must_fit() -> None:
    model = tiny()
    with pytest.raises(UsageError, match="2 seeds for 1 subjects"):
        engine(model).generate(contexts(model, 1), Generate(points=4), [0, 1])
    with pytest.raises(UsageError, match=r"\(1, 6, 15\)"):
        engine(model).generate(contexts(model, 1)[..., :15], Generate(points=4), [0])


@given(position=st.integers(0, 200), length=st.integers(2, 10).map(lambda n: 4 * n))
def test_a_rolling_ring_sees_whole_points_of_the_last_window(position: int, length: int) -> None:
    ring: list[int | None] = [None] * length
    for t in range(position + 1):
        ring[t % length] = t
    spot = spot_of(position, length)

    seen = sorted(t for place, t in enumerate(ring) if t is not None and (place < spot.first or place >= spot.second))

    assert seen == list(range(max(0, position // 4 * 4 + 4 - length), position + 1))


def test_the_next_window_keeps_half_in_whole_points() -> None:
    assert [Window(length, "refill", 10_000).kept for length in (8, 12, 20, 12_000)] == [4, 4, 8, 6_000]


@given(
    logits=st.lists(st.integers(-80, 80).map(lambda n: n / 8), min_size=1, max_size=30),
    draw=st.integers(0, 996).map(lambda n: (n + 0.5) / 997),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    top_k=st.sampled_from([None, 1, 3, 100]),
    top_p=st.sampled_from([0.1, 0.9, 1.0]),
)
def test_the_device_s_sampler_is_the_host_s(
    logits: list[float], draw: float, temperature: float, top_k: int | None, top_p: float
) -> None:
    options = Generate(temperature=temperature, top_k=top_k, top_p=top_p)
    values = np.array(logits, np.float32)

    token = sample(values, draw, options)
    chances = np.exp(np.sort(values)[::-1].astype(np.float64) / (temperature or 1))
    likelier = int((values > values[token]).sum())

    assert token == int(sample_rows(torch.from_numpy(values)[None], torch.tensor([draw], dtype=torch.float64), options))
    assert likelier == 0 or temperature > 0
    assert top_k is None or likelier < top_k
    assert chances[:likelier].sum() < top_p * chances.sum() + 1e-9 * chances.sum() or likelier == 0


def test_samples_come_as_often_as_they_are_likely() -> None:
    chances = np.array([0.5, 0.0, 0.2, 0.3])
    logits = np.log(np.maximum(chances, 1e-30)).astype(np.float32)
    draws = (np.arange(1000) + 0.5) / 1000

    drawn = np.bincount([sample(logits, draw, Generate()) for draw in draws], minlength=4)
    cut = np.bincount([sample(logits, draw, Generate(top_k=2)) for draw in draws], minlength=4)

    assert drawn.tolist() == [500, 0, 200, 300]
    assert cut.tolist() == [625, 0, 0, 375]


def test_draws_are_the_same_however_many_are_taken_at_once() -> None:
    one, other = Draws(5), Draws(5)
    pieces = np.concatenate([one.take(n) for n in (4, 64, 4096, 1)])

    assert np.array_equal(pieces, other.take(4165))
    assert pieces.min() >= 0
    assert pieces.max() < 1


@given(data=st.data())
def test_what_can_be_chosen_is_what_the_grammar_allows(data: st.DataObject) -> None:
    vocabulary = Vocabulary(6, 5)
    grammar = Grammar(vocabulary)
    rules = Rules(vocabulary, True, 1)
    rules.floor[0] = floor = data.draw(st.integers(0, 5))
    rules.ended[0] = ended = data.draw(st.booleans())
    rules.first[0] = first = data.draw(st.booleans()) and not ended
    slot = data.draw(st.integers(0, 3))
    low, high, end = rules.spans[slot]
    allowed = grammar.allowed(slot, torch.tensor([floor]), torch.tensor([ended]), torch.tensor([first]))[0]

    found = set()
    for favourite in range(high - low + end):
        rules.floor[0], rules.ended[0], rules.first[0] = floor, ended, first
        logits = np.zeros(high - low + end, np.float32)
        logits[favourite] = 1
        found.add(rules.choose(0, slot, logits, 0.0, Generate(temperature=0)))

    assert found <= set(torch.nonzero(allowed)[:, 0].tolist())
    assert len(found) == int(allowed.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_guidance_zero_is_told_nothing_and_one_is_unguided(kind: Any) -> None:
    model = tiny()
    context, seeds = contexts(model, 2), [0, 1]
    blank = engine(model, kind).generate(torch.zeros_like(context), Generate(points=9), seeds)
    unled = engine(model, kind).generate(context, Generate(points=9, guidance=0), seeds)
    told = engine(model, kind).generate(context, Generate(points=9), seeds)
    nearly = engine(model, kind).generate(context, Generate(points=9, guidance=1 + 1e-9), seeds)
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(blank, unled, strict=True))
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(told, nearly, strict=True))
    assert all((a.states - b.states).abs().max() < 1e-5 for a, b in zip(told, nearly, strict=True))
    assert not all(torch.equal(a.tokens, b.tokens) for a, b in zip(told, blank, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_guided_clouds_are_the_same_alone_and_among_others(kind: Any) -> None:
    model = tiny(end=3.0)
    context, seeds = contexts(model, 6), list(range(6))
    options = Generate(points=30, guidance=2.0)
    together = engine(model, kind).generate(context, options, seeds)
    alone = [engine(model, kind).generate(context[n : n + 1], options, [n])[0] for n in seeds]
    assert len({one.reason for one in together} | {len(one.tokens) for one in together}) > 2
    assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(together, alone, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_guided_draws_are_of_the_mixed_logits(kind: Any) -> None:
    model = tiny(grammar=False)
    context, guidance = contexts(model, 1), 2.5
    (found,) = engine(model, kind).generate(context, Generate(points=5, temperature=0, guidance=guidance), [0])
    fed = found.tokens[None, :-SLOTS]
    with torch.inference_mode():
        told, blank = model(fed, context).logits[0], model(fed, torch.zeros_like(context)).logits[0]
    mixed = blank + guidance * (told - blank)
    assert torch.equal(mixed[SLOTS - 1 : -1].argmax(1), found.tokens[SLOTS:-SLOTS])
    assert not torch.equal(mixed.argmax(1), told.argmax(1))


def nearest(made: Generated) -> float:
    """The least distance between two points, in levels."""
    places = made.tokens[SLOTS:-SLOTS].reshape(-1, SLOTS)[:, :3].double()
    return float(torch.cdist(places, places).fill_diagonal_(torch.inf).min())


@pytest.mark.parametrize("kind", KINDS)
def test_points_keep_the_spacing_that_is_asked_for(kind: Any) -> None:
    model = tiny()
    crowded = engine(model, kind).generate(contexts(model, 2), Generate(points=12), [0, 1])
    apart = engine(model, kind).generate(contexts(model, 2), Generate(points=12, spacing=3), [0, 1])

    assert min(map(nearest, crowded)) < 3
    assert min(map(nearest, apart)) >= 3
    assert all(fault(made.tokens, model.vocabulary) is None for made in apart)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("policy", ["refill", "roll"])
@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_a_point_drawn_again_leaves_no_trace_in_what_follows(kind: Any, policy: Any, guidance: float) -> None:
    model = tiny(end=3)
    options = Generate(points=30, policy=policy, spacing=3, guidance=guidance)
    made = engine(model, kind).generate(contexts(model, 3), options, [0, 1, 2])
    unguided = Generate(points=30, policy=policy)

    for n, one in enumerate(made):
        body = one.tokens[None, :-SLOTS]
        told = engine(model, kind).logits(body, contexts(model, 3)[n : n + 1], unguided.policy)
        assert torch.allclose(told.states[0, SLOTS - 1 : -1], one.states, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_spaced_clouds_are_the_same_alone_and_among_others(kind: Any) -> None:
    model = tiny(end=3)
    context, options = contexts(model, 5), Generate(points=30, spacing=3)
    alone = [engine(model, kind).generate(context[n : n + 1], options, [n])[0] for n in range(5)]
    together = engine(model, kind).generate(context, options, range(5))

    for one, other in zip(alone, together, strict=True):
        assert torch.equal(one.tokens, other.tokens)


def test_where_no_place_is_free_the_last_draw_stays() -> None:
    model = tiny()
    (made,) = engine(model).generate(contexts(model, 1), Generate(points=9, spacing=100), [0])

    assert len(made.tokens) > SLOTS * (1 + 2)
    assert nearest(made) < 100
