"""The held-out table: per person, against every baseline, and by kind of token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from avatarbench.methods.pointillist.evaluate import REACH, Evaluation, Person
from avatarbench.methods.pointillist.evaluate_records import Drawn
from avatarbench.methods.pointillist.paired import LEVEL
from avatarbench.statistics import printed
from avatarbench.tables.grid import Entry, Grid, Label, Line
from avatarbench.tables.markdown import render

NAMES = {
    "medoid": "training medoid",
    "nearest": "nearest training subject by image feature",
    "surface": "surface of the tracked head, as many samples as generated",
    "surface_true": "surface of the tracked head, as many samples as the true cloud has",
    "mean": "a training subject drawn blindly (mean over all)",
    "best": "the training subject nearest to the truth (knows the truth)",
}
TO_BEAT = ("medoid", "nearest", "surface")
"""The baselines that a model is good for nothing if it does not beat them."""

PEOPLE_NOTES = (
    "Chamfer: mean of the two directed mean distances to the nearest point, mm, mean over the seeds; medoid, nearest, "
    "surface: the baselines' for the same person.",
    "Valid: sequences that the grammar has nothing against; the others are counted and left out of all else. Free: the "
    "same where tokens are drawn without its masks, which says something only where training had none either.",
    f"Recall and precision: share of true points with a generated one within {REACH * 1000:.0f} mm, and the reverse.",
    "Bound to: share of points bound to a face that holds the nearest place of the tracked mesh, or to a neighbour of "
    "one; in brackets the same of the true cloud, whose mesh is the subject's own and not the tracked one.",
)

LEFT_OUT = "Left out: draws of a consensus that came to no end, or were too small, and did not go into it."


def grids(found: Evaluation) -> tuple[Grid, Grid, Grid]:
    """People, baselines and token kinds."""
    return _people(found), _baselines(found), _kinds(found)


def markdown(found: Evaluation, about: Sequence[str]) -> str:
    """The three tables as a document; ``about``: lines on what was judged, one paragraph each."""
    parts = ["# Held-out people", *about]
    for grid in grids(found):
        parts += [f"## {grid.title}", render(grid).rstrip()]
    return "\n\n".join(parts) + "\n"


def _people(found: Evaluation) -> Grid:
    columns = (
        "points true", "generated", "valid", "free", "Chamfer", "medoid", "nearest", "surface", "recall", "precision",
        "bound to nearest face", "or neighbour",
    )  # fmt: skip
    lines = [Line(Label(one.person), tuple(_person(one, found.masked))) for one in found.people]
    if len(found.people) > 1:
        lines.append(Line(Label("mean"), tuple(_mean_person(found))))
    notes = (*PEOPLE_NOTES, LEFT_OUT) if any(d.left_out for one in found.people for d in one.drawn) else PEOPLE_NOTES
    return Grid("People", "person", tuple(Label(c) for c in columns), tuple(lines), notes)


def _person(one: Person, masked: bool) -> list[Entry]:
    bounded = sum(drawn.reason == "bound" for drawn in one.drawn)
    made = f"{_whole(one.mean('points'))}{f' ({bounded} at the bound)' if bounded else ''}"
    free = None if one.unmasked is None else f"{sum(f is None for f in one.unmasked)}/{len(one.unmasked)}"
    return [
        Entry(str(one.points)),
        Entry(made),
        Entry(_valid(one.drawn)),
        Entry(free or _undrawn(masked)),
        *_chamfers(one.mean("chamfer"), [getattr(one.baselines, key) for key in TO_BEAT]),
        *(Entry(_share(one.mean(key))) for key in ("recall", "precision")),
        *(Entry(f"{_share(one.mean(key))} ({_share(getattr(one, key))})") for key in ("exact", "near")),
    ]


def _mean_person(found: Evaluation) -> list[Entry]:
    people = found.measured
    every = [drawn for one in found.people for drawn in one.drawn]
    free = [fault for one in found.people if one.unmasked is not None for fault in one.unmasked]
    agreed = [
        f"{_share(_mean([p.mean(key) for p in people]))} ({_share(_mean([getattr(p, key) for p in people]))})"
        for key in ("exact", "near")
    ]
    return [
        Entry(_whole(_mean([p.points for p in found.people]))),
        Entry(_whole(_mean([p.mean("points") for p in people]))),
        Entry(_valid(every)),
        Entry(f"{sum(f is None for f in free)}/{len(free)}" if free else _undrawn(found.masked)),
        *_chamfers(
            _mean([p.mean("chamfer") for p in people]),
            [_mean([getattr(p.baselines, key) for p in people]) for key in TO_BEAT],
        ),
        *(Entry(_share(_mean([p.mean(key) for p in people]))) for key in ("recall", "precision")),
        *(Entry(text) for text in agreed),
    ]


def _valid(drawn: Sequence[Drawn]) -> str:
    left = sum(one.left_out for one in drawn)
    said = f" ({left} draw{'s' if left > 1 else ''} left out)" if left else ""
    return f"{sum(one.fault is None for one in drawn)}/{len(drawn)}{said}"


def _chamfers(ours: float, baselines: Sequence[float]) -> list[Entry]:
    """Ours, bold where it is the least as printed, and the baselines."""
    values = (ours, *baselines)
    shown = [_mm(value) for value in values]
    best = min((text for text, value in zip(shown, values, strict=True) if math.isfinite(value)), key=float, default="")
    first = Entry(shown[0], "best" if shown[0] == best else None)
    return [first, *(Entry(text, "best" if text == best else None, italic=True) for text in shown[1:])]


def _baselines(found: Evaluation) -> Grid:
    columns = ("Chamfer", "generated less this", f"{LEVEL:.0%} interval", "generated is nearer")
    people = found.measured
    lines = [Line(Label("generated"), (Entry(_mm(_mean([p.mean("chamfer") for p in people]))), *[Entry("")] * 3))]
    for key, one in found.differences().items():
        interval = "one person" if math.isnan(one.low) else f"{_mm(one.low)} to {_mm(one.high)}"
        entries = (_mm(_mean([getattr(p.baselines, key) for p in people])), _mm(one.mean), interval)
        lines.append(Line(Label(NAMES[key]), (*map(Entry, entries), Entry(f"{one.better}/{one.people}"))))
    floors = [("the true cloud through the tokenizer", [p.baselines.tokens for p in people])]
    again = [p.again for p in people if p.again is not None]
    floors += [("another fit of the same person", again)] if again else []
    for name, values in floors:
        lines.append(Line(Label(name, italic=True), (Entry(_mm(_mean(values)), italic=True), *[Entry("")] * 3)))
    notes = (
        "mm. Differences are paired by person; the interval is a percentile bootstrap over people. A difference below "
        "zero: the generated cloud is nearer to the truth.",
        "Lines in italics are floors, which no generated cloud can be expected to pass.",
    )
    return Grid("Baselines", "cloud", tuple(Label(c) for c in columns), tuple(lines), notes)


def _kinds(found: Evaluation) -> Grid:
    kinds = list(dict.fromkeys(kind for values in found.teacher.values() for kind in values))
    lines = [
        Line(Label(person), tuple(_predicted(kind, values.get(kind, math.nan)) for kind in kinds))
        for person, values in found.teacher.items()
    ]
    if len(lines) > 1:
        means = [_mean([values.get(kind, math.nan) for values in found.teacher.values()]) for kind in kinds]
        lines.append(
            Line(Label("mean"), tuple(_predicted(kind, value) for kind, value in zip(kinds, means, strict=True)))
        )
    notes = ("Share of tokens that are the model's likeliest where the true ones come before.",)
    return Grid("Token accuracy", "person", tuple(Label(k) for k in kinds), tuple(lines), notes)


def _predicted(kind: str, value: float) -> Entry:
    return Entry(printed(value, 3) if kind.startswith("nats") else _share(value))


def _mean(values: Sequence[Any]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _whole(count: float) -> str:
    return f"{count:.0f}" if math.isfinite(count) else "none"


def _mm(metres: float) -> str:
    return printed(metres * 1000, 2) if math.isfinite(metres) else "none"


def _undrawn(masked: bool) -> str:
    return "masked in training" if masked else "not drawn"


def _share(value: float) -> str:
    return f"{value:.1%}" if math.isfinite(value) else "none"
