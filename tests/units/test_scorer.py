"""The scorer: one pass an image, values in order, and a reason for every NaN."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from avatarbench.errors import DataError, UnknownNameError
from avatarbench.metrics import engine as engine_module
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.features import Frame, Missing
from avatarbench.metrics.scorer import Item, LazyImage, Score, Scorer
from tests.units import fake_extractors as fakes
from tests.units.fake_extractors import PASSES

LOADS: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "load_extractor", fakes.CLASSES.__getitem__)
    PASSES.clear()
    LOADS.clear()


def lazy(key: str, level: int, side: int = 4) -> LazyImage:
    def load() -> np.ndarray:
        LOADS[key] += 1
        image = np.full((side, side, 3), level, np.uint8)
        image[0, 0] = level // 2
        return image

    return LazyImage(key, load)


def unreadable(key: str) -> LazyImage:
    def load() -> np.ndarray:
        raise DataError(f"{key} is truncated")

    return LazyImage(key, load)


def item(method: str, sample: int, level: int) -> Item:
    return Item(
        str(sample),
        method,
        lazy(f"{method}/{sample}", level),
        {"target": lazy(f"t{sample}", 100 + sample), "source": lazy("portrait", 90)},
    )


def groups(count: int, methods: int = 2) -> list[list[Item]]:
    return [[item(f"m{m}", n, 110 + n + 10 * m) for m in range(methods)] for n in range(count)]


def test_values_come_in_order_and_do_not_depend_on_the_batch() -> None:
    found, *others = (
        list(Scorer([fakes.MEAN, fakes.PIXELS], FeatureCache(None), batch=batch).score(groups(5)))
        for batch in (1, 3, 8, 100)
    )
    for other in others:
        assert other == found
    assert [[(s.sample, s.method, s.metric) for s in group] for group in found] == [
        [(str(n), m, metric) for m in ("m0", "m1") for metric in ("mean", "pixels")] for n in range(5)
    ]
    assert [s.value for s in found[2] if s.metric == "pixels"] == pytest.approx([10.0, 20.0], rel=0.1)


def test_each_image_passes_each_network_once_though_many_items_use_it() -> None:
    scorer = Scorer([fakes.MEAN, fakes.PIXELS, fakes.MEAN_SOURCE], FeatureCache(None), batch=6)
    list(scorer.score(groups(6, methods=3)))
    assert set(PASSES.values()) == {1}
    assert LOADS["portrait"] == 1
    assert LOADS["t0"] == 1


def test_groups_stream_with_a_bounded_number_of_images_in_memory() -> None:
    drawn = 0

    def stream() -> Iterator[list[Item]]:
        nonlocal drawn
        for group in groups(50, methods=1):
            drawn += 1
            yield group

    results = Scorer([fakes.MEAN], FeatureCache(None), batch=4).score(stream())
    next(results)
    assert drawn <= 4
    assert sum(1 for _ in results) == 49


def test_a_group_larger_than_the_batch_is_scored_whole() -> None:
    (found,) = Scorer([fakes.PIXELS], FeatureCache(None), batch=2).score(
        [[item(f"m{m}", 0, 120 + m) for m in range(7)]]
    )
    assert [s.method for s in found] == [f"m{m}" for m in range(7)]
    assert not any(math.isnan(s.value) for s in found)


def score_one(scorer: Scorer, one: Item) -> Score:
    ((score,),) = scorer.score([[one]])
    return score


@pytest.mark.parametrize(
    ("prediction", "references", "reason"),
    [
        (Missing("the method raised"), {"target": lazy("t", 9)}, "the method raised"),
        (unreadable("p"), {"target": lazy("t", 9)}, "p is truncated"),
        (lazy("p", 9), {"target": unreadable("t")}, "target image: t is truncated"),
        (lazy("p", 9), {"driver": lazy("d", 9)}, "the sample has no target image"),
        (lazy("p", 0), {"target": lazy("t", 9)}, "the frame is black"),
        (lazy("p", 9, side=3), {"target": lazy("t", 9)}, "sizes differ"),
        (LazyImage("p", lambda: np.zeros((4, 4), np.uint8)), {"target": lazy("t", 9)}, "expected (H, W, 3) uint8"),
    ],
)
def test_every_missing_value_has_its_reason(prediction: LazyImage | Missing, references: dict, reason: str) -> None:
    score = score_one(Scorer([fakes.PIXELS], FeatureCache(None)), Item("s", "m", prediction, references))
    assert math.isnan(score.value)
    assert score.reason is not None
    assert reason in score.reason


def test_a_value_that_is_not_finite_becomes_a_reason() -> None:
    score = score_one(Scorer([fakes.INFINITE], FeatureCache(None)), item("m", 0, 9))
    assert math.isnan(score.value)
    assert score.reason == "infinite is inf here"


def test_a_metrics_note_stands_beside_the_value() -> None:
    score = score_one(Scorer([fakes.MEAN], FeatureCache(None)), item("m", 0, 100))
    assert (score.value, score.reason, score.note) == (0.0, None, "the same brightness")


def test_a_note_that_raises_says_so_and_the_value_stands() -> None:
    score = score_one(Scorer([fakes.BROKEN_NOTE], FeatureCache(None)), item("m", 0, 9))
    assert (score.value, score.reason) == (1.5, None)
    assert score.note == "broken-note has no note: ValueError: nothing to say"


def test_a_metric_that_reads_what_it_did_not_declare_says_which() -> None:
    score = score_one(Scorer([fakes.UNDECLARED], FeatureCache(None)), item("m", 0, 9))
    assert score.reason == "the metric did not declare the extractor 'face'"


def test_out_of_memory_stops_the_run() -> None:
    with pytest.raises(MemoryError, match="no room for the pair"):
        score_one(Scorer([fakes.EXHAUSTED], FeatureCache(None)), item("m", 0, 9))
    with pytest.raises(MemoryError, match="no room for the statistics"):
        Scorer([fakes.EXHAUSTED_SET], FeatureCache(None)).set_value("exhausted-set", [lazy("p", 5)], [lazy("r", 6)])


def test_features_that_cannot_stand_beside_the_others_are_skipped_with_their_reasons() -> None:
    ours = [lazy(f"p{level}", level) for level in (5, 6, 7, 8, 9)]
    found = Scorer([fakes.UNEVEN], FeatureCache(None)).set_value("uneven", ours, [lazy("r", 6)])
    assert found.keys == ["p5", "p6"]
    assert found.skipped == {
        "p7": "uneven: feature 1 of 3 is nan",
        "p8": "uneven: 2 features, the frames before have 3",
        "p9": "uneven: the features have the shape (1, 3), expected (D,)",
    }
    assert math.isfinite(found.value)


def test_a_set_value_after_scoring_reads_no_image_again() -> None:
    scorer = Scorer([fakes.MEAN, fakes.SET], FeatureCache(None))
    all_groups = groups(4)
    list(scorer.score(all_groups))
    before = LOADS.total(), PASSES.total()
    ours = [image for group in all_groups for one in group if isinstance(image := one.prediction, LazyImage)][::2]
    found = scorer.set_value("set", ours, [group[0].references["target"] for group in all_groups])
    assert (LOADS.total(), PASSES.total()) == before
    assert found.value == pytest.approx(10, rel=0.1)
    assert (found.n_prediction, found.n_reference, found.reason) == (4, 4, None)
    assert found.features.shape == (4, 3)
    assert found.keys == ["m0/0", "m0/1", "m0/2", "m0/3"]


def test_a_set_value_without_scoring_streams_the_images_itself() -> None:
    scorer = Scorer([fakes.SET], FeatureCache(None), batch=2)
    ours = [lazy(f"p{n}", 50 + n) for n in range(5)]
    found = scorer.set_value("set", ours, [lazy(f"r{n}", 60 + n) for n in range(7)])
    assert (found.n_prediction, found.n_reference) == (5, 7)
    assert found.value > 0


def test_images_without_features_are_skipped_with_their_reasons() -> None:
    scorer = Scorer([fakes.SET], FeatureCache(None))
    ours = [lazy("p0", 50), lazy("p1", 0), unreadable("p2"), lazy("p3", 60)]
    found = scorer.set_value("set", ours, [lazy("r0", 60), lazy("r1", 61)])
    assert found.keys == ["p0", "p3"]
    assert found.skipped == {"p1": "the frame is black", "p2": "p2 is truncated"}
    assert math.isfinite(found.value)


def test_too_few_frames_give_nan_with_the_count() -> None:
    found = Scorer([fakes.SET], FeatureCache(None)).set_value("set", [lazy("p", 5)], [lazy("r", 6), lazy("q", 7)])
    assert math.isnan(found.value)
    assert found.reason == "1 prediction frames with features, set needs at least 2"


def test_a_pair_metric_is_not_a_set_metric() -> None:
    with pytest.raises(UnknownNameError, match="'mean' is not a set metric"):
        Scorer([fakes.MEAN, fakes.SET], FeatureCache(None)).set_value("mean", [], [])


def test_a_prediction_equal_to_its_target_shares_the_targets_features() -> None:
    score = score_one(Scorer([fakes.PIXELS], FeatureCache(None)), item("oracle", 0, 100))
    assert score.value == 0
    assert PASSES.total() == 1


def test_frames_of_another_run_come_from_the_cache() -> None:
    cache = FeatureCache(None)
    list(Scorer([fakes.MEAN], cache).score(groups(2)))
    before = PASSES.total()
    list(Scorer([fakes.MEAN], cache).score(groups(2)))
    assert PASSES.total() == before
    assert isinstance(Frame(np.zeros((2, 2, 3), np.uint8)).digest, str)
