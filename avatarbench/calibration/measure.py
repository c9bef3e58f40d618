"""Every metric on every comparison: one value a scene from pair metrics, one a set of scenes from set metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from avatarbench.calibration import pixels
from avatarbench.calibration.curves import jackknife
from avatarbench.calibration.frames import Frames
from avatarbench.calibration.plan import NOISE, NOISE_SEEDS, Comparison, Scene, Shot
from avatarbench.metric import Against
from avatarbench.metrics.scorer import Item, LazyImage, Score, Scorer
from avatarbench.metrics.set_scores import SetResult

Change = tuple[str, float]
"""Kind and level."""

ROLES: tuple[Against, ...] = ("target", "driver", "source", "identity")


@dataclass(frozen=True)
class Value:
    """What a metric said: of one scene, or of the whole set where ``scene`` is None. NaN comes with a reason."""

    change: Change
    scene: Scene | None
    amount: float
    value: float
    reason: str | None


@dataclass
class Measured:
    """The values of one metric in the order of the plan. For a set metric also ``frames`` a side, the number of its
    ``features``, and the standard error of its noise floor, by jackknife over the persons."""

    values: list[Value] = field(default_factory=list)
    frames: int | None = None
    features: int | None = None
    floor_error: float = math.nan

    def of(self, change: Change) -> list[Value]:
        return [value for value in self.values if value.change == change]


def score_pairs(
    scenes: Sequence[Scene], frames: Frames, scorer: Scorer, advance: Callable[[int], None]
) -> dict[str, Measured]:
    """Values of the scorer's pair metrics by id. Whatever a metric compares with is the scene's unchanged frame.

    The features of the scorer's set metrics are kept on the way; ``advance`` gets the number of comparisons done.
    """
    found: dict[str, Measured] = {}
    for scene, scores in zip(scenes, scorer.score(_items(scene, frames) for scene in scenes), strict=True):
        by_sample: dict[str, list[Score]] = {}
        for score in scores:
            by_sample.setdefault(score.sample, []).append(score)
        for comparison in scene.comparisons:
            change = comparison.kind, comparison.level
            for score in by_sample.get(_sample(comparison), []):
                value = Value(change, scene, comparison.amount, score.value, score.reason)
                found.setdefault(score.metric, Measured()).values.append(value)
        advance(len(scene.comparisons))
    return found


def set_steps(scenes: Sequence[Scene]) -> int:
    """How many values :func:`score_set` computes."""
    return len(_set_changes(scenes)) + len(_persons(scenes))


def score_set(
    metric: str, scenes: Sequence[Scene], frames: Frames, scorer: Scorer, advance: Callable[[], None]
) -> Measured:
    """Values of a set metric: the changed frames of all scenes against the unchanged ones. ``advance`` follows each."""

    def compare(change: Change, chosen: Sequence[Scene]) -> SetResult:
        changed = [_image(c, frames) for scene in chosen for c in scene.comparisons if (c.kind, c.level) == change]
        result = scorer.set_value(metric, changed, [_still(scene.reference, frames) for scene in chosen])
        advance()
        return result

    found = Measured(frames=len(scenes))
    for change in _set_changes(scenes):
        result = compare(change, scenes)
        found.values.append(Value(change, None, change[1], result.value, result.reason))
        found.features = result.features.shape[1] or found.features
    noise = NOISE, NOISE_SEEDS[0]
    without = [compare(noise, [s for s in scenes if s.person != person]).value for person in _persons(scenes)]
    found.floor_error = jackknife(without)
    return found


def _set_changes(scenes: Sequence[Scene]) -> list[Change]:
    return list(dict.fromkeys((c.kind, c.level) for scene in scenes for c in scene.comparisons))


def _persons(scenes: Sequence[Scene]) -> list[int]:
    return list(dict.fromkeys(scene.person for scene in scenes))


def _items(scene: Scene, frames: Frames) -> list[Item]:
    reference = _still(scene.reference, frames)
    return [Item(_sample(c), "change", _image(c, frames), dict.fromkeys(ROLES, reference)) for c in scene.comparisons]


def _sample(comparison: Comparison) -> str:
    return f"{comparison.kind}/{comparison.level:g}"


def _image(comparison: Comparison, frames: Frames) -> LazyImage:
    still = _still(comparison.shot, frames)
    if not comparison.pixels:
        return still
    kind, amount = comparison.kind, comparison.amount
    return LazyImage(f"{still.key}/{kind}/{amount:g}", lambda: pixels.changed(still.load(), kind, amount))


def _still(shot: Shot, frames: Frames) -> LazyImage:
    return LazyImage(frames.path(shot).name, lambda: frames.read(shot))
