"""Clouds drawn with a trained stage one: a draw each, or what several agree on."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

from torch import Tensor

from avatarbench.methods.pointillist.checkpoint import Loaded
from avatarbench.methods.pointillist.config import Generate
from avatarbench.methods.pointillist.consensus import agreed
from avatarbench.methods.pointillist.engine import Engine, Generated
from avatarbench.methods.pointillist.engine.engine import Watch
from avatarbench.methods.pointillist.measures import fault
from avatarbench.methods.pointillist.tokenizer import SLOTS, PointsWarning
from avatarbench.methods.pointillist.training.seeds import seed_of


def draw(
    loaded: Loaded,
    engine: Engine,
    context: Tensor,
    options: Generate,
    seeds: Sequence[int],
    watch: Watch | None = None,
    states: bool = True,
) -> list[Generated]:
    """One cloud for each row of ``context`` (B, C, W): :meth:`Engine.generate`'s where ``options.consensus`` is 1, and
    what so many draws agree on where it is more.

    The first draw of a subject is that of its seed, the others' seeds follow from it; ``watch`` is told of all draws,
    a subject's after each other. Draws that are no whole head are left out. Where fewer than two are left, the result
    is the one, or else the first draw, as it was drawn. Cancelled, it is each subject's first draw, cancelled.
    ``states`` (4 N, W) of a cloud that was agreed on are those that the model has before its tokens, which takes
    another reading of them; without ``states`` that is left out, and they are (0, W). Raises as
    :meth:`Engine.generate`.
    """
    many, begun = options.consensus, time.perf_counter()
    if many == 1:
        return engine.generate(context, options, seeds, watch)
    each = [seed_of_draw(seed, number) for seed in seeds for number in range(many)]
    drawn = engine.generate(context.repeat_interleave(many, 0), options, each, watch)
    found = []
    for row in range(len(seeds)):
        own = drawn[row * many : (row + 1) * many]
        one = _agreed(loaded, engine, context[row : row + 1], own, options, states)
        found.append(one._replace(seconds=time.perf_counter() - begun))
    return found


def seed_of_draw(seed: int, number: int) -> int:
    """Of a subject's ``number``-th draw under ``seed``."""
    return seed if number == 0 else seed_of(seed, "draw", number)


def flaw(drawn: Generated, loaded: Loaded) -> str | None:
    """Why what was drawn is no head's cloud to go on with; None where it is one."""
    wrong = fault(drawn.tokens, loaded.tokenizer.vocabulary)
    if wrong is not None:
        return f"what was generated is no cloud: {wrong}"
    count = len(drawn.tokens) // SLOTS - 2
    if drawn.reason != "ended":
        return f"it reached the bound of {count} points without an end"
    return few(count, loaded) if count < loaded.least else None


def few(count: int, loaded: Loaded) -> str:
    """That ``count`` points are too few."""
    return f"the cloud ended after {count} points, and the smallest that was trained on has {loaded.fewest}"


def _agreed(
    loaded: Loaded, engine: Engine, context: Tensor, drawn: Sequence[Generated], options: Generate, states: bool
) -> Generated:
    if any(one.reason == "cancelled" for one in drawn):
        return drawn[0]._replace(reason="cancelled")
    whole = [one for one in drawn if flaw(one, loaded) is None]
    if len(whole) < 2:
        return (whole or drawn)[0]
    points = agreed([loaded.tokenizer.decode(one.tokens.cpu()) for one in whole])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PointsWarning)  # means of points in the cube leave it by their rounding alone
        tokens = loaded.tokenizer.encode(*points).tokens
    empty = drawn[0].states[:0]
    if not states:
        return Generated(tokens, empty, "ended", 0.0)
    told = engine.states(tokens[None, :-SLOTS], context, options.policy)[0]
    return Generated(tokens, told[SLOTS - 1 : -1].to(empty), "ended", 0.0)
