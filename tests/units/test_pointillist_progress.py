"""Evaluation while training: every true token is asked once, whoever shares the people; clouds are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from avatarbench.errors import DataError, UsageError
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.measures import chamfer
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import Cube, Tokenizer, Vocabulary
from avatarbench.methods.pointillist.training.evaluation import (
    MEASURED,
    Evaluation,
    Tally,
    means,
    measured,
    seen_before,
    teacher_forced,
)
from tests.pointillist_tiny import Others, TinyEncoder, TinySet, tiny_config


def model_of(config: Config) -> StageOne:
    torch.manual_seed(1)
    return StageOne(config, (4, 3)).eval()


def context_of(model: StageOne) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return model.condition(torch.rand(1, 4, 3, generator=draw), torch.rand(1, 16, 6, generator=draw))


def with_window(length: int, step: int) -> Config:
    values = tiny_config().model_dump()
    return Config.model_validate(values | {"window": {"length": length, "step": step}})


def values_of(tally: Tally) -> list[Any]:
    return [part.tolist() for part in tally]


def test_in_one_window_it_is_the_masked_models_own_cross_entropy_and_accuracy() -> None:
    tiny, model = TinySet((20,)), model_of(with_window(96, 48))
    v, sequence, context = model.vocabulary, tiny.tokenizer.encode(*tiny.cloud("000")).tokens, context_of(model)
    found = teacher_forced(model, sequence, context, tiny.faces)
    with torch.no_grad():
        logits = model.grammar.mask(model(sequence[None, :-1], context).logits.clone(), sequence[None, :-1])[0]
    following = sequence[1:]
    kind = (torch.arange(len(following)) + 1) % 4
    asked = following < v.start
    asked[4 * 21 - 1] = True  # where the first end token stands, the others being the only choice
    kind[4 * 21 - 1] = 4
    logs, hits = logits.log_softmax(-1), logits.argmax(-1) == following
    costs = -logs.gather(1, following[:, None])[:, 0]
    for n in range(5):
        here = asked & (kind == n)
        assert float(found.counts[n]) == int(here.sum())
        assert float(found.hits[n]) == int(hits[here].sum())
        assert float(found.entropy[n]) == pytest.approx(float(costs[here].sum()), rel=1e-4)
    likely, true = logits.argmax(-1)[asked & (kind == 3)] - v.levels, following[asked & (kind == 3)] - v.levels
    touching = sum(
        bool(set(tiny.faces[a].tolist()) & set(tiny.faces[b].tolist())) for a, b in zip(likely, true, strict=True)
    )
    assert float(found.near) == touching


@pytest.mark.parametrize(("length", "step"), [(32, 16), (32, 32), (16, 4), (96, 48)])
def test_every_token_is_asked_once_however_the_windows_lie(length: int, step: int) -> None:
    tiny, model = TinySet((21,)), model_of(with_window(length, step))
    sequence = tiny.tokenizer.encode(*tiny.cloud("000")).tokens
    assert teacher_forced(model, sequence, context_of(model), tiny.faces).counts.tolist() == [21, 21, 21, 21, 1]


def test_the_second_window_says_what_a_window_alone_says() -> None:
    """The first window foretells what follows it, the second one, from its own tokens alone, the rest."""
    tiny, model = TinySet((14,)), model_of(with_window(32, 16))
    sequence, context = tiny.tokenizer.encode(*tiny.cloud("000")).tokens, context_of(model)
    both = teacher_forced(model, sequence[:48], context, tiny.faces)
    first = teacher_forced(model, sequence[:32], context, tiny.faces)
    with torch.no_grad():
        windows = torch.stack([sequence[0:32], sequence[16:48]])
        masked = model.grammar.mask(model(windows, context.expand(2, -1, -1)).logits.clone(), windows)
    logits = torch.cat([masked[0, 31:], masked[1, 16:31]])
    wanted = torch.nn.functional.cross_entropy(logits, sequence[32:48], reduction="sum")
    assert float(both.entropy.sum() - first.entropy.sum()) == pytest.approx(float(wanted), rel=1e-4)


class Share:
    """A process among several that adds nothing of the others."""

    device = torch.device("cpu")

    def __init__(self, index: int, count: int) -> None:
        self.process_index, self.num_processes = index, count

    def reduce(self, value: Tensor, how: str) -> Tensor:
        self.told = value
        return value


def packed(evaluation: Evaluation, model: StageOne, index: int, count: int) -> Tensor:
    share = Share(index, count)
    evaluation(model, share)  # type: ignore[arg-type]
    return share.told


def test_processes_share_the_people_and_their_sums_are_those_of_one() -> None:
    config = tiny_config()
    evaluation = Evaluation(Others(9, 14, 11), TinySet(), config, TinyEncoder(), 0)
    model = model_of(config)
    parts = [packed(evaluation, model, index, 2) for index in range(2)]
    torch.testing.assert_close(sum(parts), packed(evaluation, model, 0, 1))


def test_generated_clouds_are_measured_and_the_model_is_left_as_it_was() -> None:
    config = tiny_config()
    config = config.model_copy(update={"generate": config.generate.model_copy(update={"points": 30})})
    held = Others(9, 14)
    evaluation = Evaluation(held, TinySet(), config, TinyEncoder(), 2)
    model = model_of(config).train()
    found = evaluation(model, Accelerator())
    assert model.training
    assert found["generated"]["clouds"] == 2
    assert found["generated"]["valid"] == 1.0  # the grammar masks what is sampled
    assert 1 <= found["generated"]["points"] <= 30
    assert found["generated"]["chamfer"] < held.tokenizer.cube.side
    assert found == evaluation(model, Accelerator())
    assert found["entropy"]["all"] > 0
    assert found["accuracy"].keys() == {"x", "y", "z", "binding", "end", "all"}


def test_the_true_cloud_is_as_far_from_itself_as_its_bins_are_wide_and_bound_as_it_is() -> None:
    held = Others(40)
    tokens = held.tokenizer.encode(*held.cloud("003")).tokens
    found = dict(zip(MEASURED, measured(tokens, "ended", held, 0), strict=True))
    assert (found["clouds"], found["ended"], found["valid"], found["points"], found["count_error"]) == (1, 1, 1, 40, 0)
    decoded = held.tokenizer.decode(tokens).positions
    assert found["chamfer"] == chamfer(decoded, held.cloud("003").positions)
    assert found["chamfer"] < held.tokenizer.cube.side / 32
    assert found["bound_near"] > 0.9


def test_tokens_that_are_no_cloud_count_as_invalid_and_enter_no_mean() -> None:
    held = Others(12)
    tokens = held.tokenizer.encode(*held.cloud("003")).tokens
    broken = torch.cat([tokens[:6], tokens[7:]])
    sums = [a + b for a, b in zip(measured(tokens, "ended", held, 0), measured(broken, "bound", held, 0), strict=True)]
    found = means(dict(zip(MEASURED, sums, strict=True)))
    assert (found["clouds"], found["ended"], found["valid"], found["points"]) == (2, 0.5, 0.5, 12)
    assert means(dict(zip(MEASURED, measured(broken, "bound", held, 0), strict=True))) == {
        "clouds": 1.0,
        "ended": 0.0,
        "valid": 0.0,
    }


@pytest.mark.parametrize(("count", "wanted"), [(0, []), (1, [0]), (2, [0, 2]), (9, [0, 1, 2, 3])])
def test_people_to_generate_for_are_evenly_chosen(count: int, wanted: Sequence[int]) -> None:
    evaluation = Evaluation(Others(5, 6, 7, 8), TinySet(), tiny_config(), TinyEncoder(), count)
    assert evaluation.drawn == wanted


class Known(TinySet):
    """``said``: what tells each person from others."""

    def __init__(self, **said: dict[str, str]) -> None:
        super().__init__((5,) * len(said))
        self.people, self.said = tuple(said), said

    def marks(self, person: str) -> dict[str, str]:
        return self.said[person]


@pytest.mark.parametrize(
    ("held", "trained", "found"),
    [
        ({"a": {"cloud": "1"}}, {"b": {"cloud": "1"}}, ["a (b in the training set)"]),
        ({"a": {"cloud": "1", "identity": "7"}}, {"b": {"cloud": "2", "identity": "7"}}, ["a (b in the training set)"]),
        ({"a": {"cloud": "1", "identity": "7"}}, {"a": {"cloud": "2", "identity": "7"}}, ["a"]),
        ({"a": {"cloud": "1", "identity": "7"}}, {"a": {"cloud": "2", "identity": "8"}}, []),
        ({"a": {"cloud": "1"}}, {"a": {"cloud": "2", "identity": "8"}}, ["a"]),  # perhaps fitted once more
        ({"a": {"cloud": "1"}}, {"a": {"cloud": "2"}}, ["a"]),
        ({"a": {"cloud": "1"}}, {"b": {"cloud": "2"}}, []),
        ({"a": {"cloud": "7"}}, {"b": {"identity": "7"}}, []),
    ],
)
def test_whoever_is_trained_on_is_known_under_any_name(
    held: dict[str, dict[str, str]], trained: dict[str, dict[str, str]], found: list[str]
) -> None:
    assert seen_before(Known(**held), Known(**trained)) == found


def test_sets_that_say_nothing_are_refused() -> None:
    config, trained = tiny_config(), TinySet()
    with pytest.raises(UsageError, match=r"000, 001 are trained on too"):
        Evaluation(TinySet((5, 6)), trained, config, TinyEncoder())
    other = Others(5)
    other.tokenizer = Tokenizer(Vocabulary(32, 8), Cube((0.0, 0.0, 0.0), 1.0))
    with pytest.raises(DataError, match=r"another tokenizer or rig .* --tokenizer TRAINING_SET"):
        Evaluation(other, trained, config, TinyEncoder())
    values = config.model_dump()
    values["transformer"] |= {"architecture": "hourglass", "shorten": (4,), "depth": 3}
    glass = Config.model_validate(values)
    with pytest.raises(UsageError, match="no engine that generates: evaluate with --generate 0"):
        Evaluation(Others(5), trained, glass, TinyEncoder())
    found = Evaluation(Others(5), trained, glass, TinyEncoder(), 0)(model_of(glass), Accelerator())
    assert "generated" not in found
    assert found["accuracy"]["all"] >= 0
