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
    a subject's after each other. Draws that are no whole head are left out, and ``left_out`` counts them. Where fewer
    than two are left, the result is the tokens of the one, or else of the first draw. Cancelled, a subject of which a
    draw was not finished is its first draw, cancelled. With a consensus, ``states`` (4 N, W) are those that the model
    has before the tokens of the result, which takes another reading of them: those of so many draws would take as many
    times the memory. Without ``states`` they are (0, W). Raises as :meth:`Engine.generate`.
    """
    many, begun = options.consensus, time.perf_counter()
    if many == 1:
        return engine.generate(context, options, seeds, watch, states)
    each = [seed_of_draw(seed, number) for seed in seeds for number in range(many)]
    drawn = engine.generate(context.repeat_interleave(many, 0), options, each, watch, False)
    found = []
    for row in range(len(seeds)):
        own = drawn[row * many : (row + 1) * many]
        one = _agreed(loaded, own)
        if states:
            one = one._replace(states=_read(engine, context[row : row + 1], one, options))
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


def _agreed(loaded: Loaded, drawn: Sequence[Generated]) -> Generated:
    """Of one subject's draws, without states."""
    whole = [one for one in drawn if flaw(one, loaded) is None]
    if any(one.reason == "cancelled" for one in drawn):
        return drawn[0]._replace(reason="cancelled", left_out=len(drawn) - 1)
    if len(whole) < 2:
        return (whole or drawn)[0]._replace(left_out=len(drawn) - 1)
    points = agreed([loaded.tokenizer.decode(one.tokens) for one in whole])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PointsWarning)  # means of points in the cube leave it by their rounding alone
        tokens = loaded.tokenizer.encode(*points).tokens
    return whole[0]._replace(tokens=tokens, left_out=len(drawn) - len(whole))


def _read(engine: Engine, context: Tensor, made: Generated, options: Generate) -> Tensor:
    """(4 N, W): what :meth:`Engine.generate` would tell of the same tokens, in its dtype and where it tells it."""
    found = engine.states(made.tokens[None, :-SLOTS], context, options.policy)[0]
    return found[SLOTS - 1 : -1].to(made.states)
