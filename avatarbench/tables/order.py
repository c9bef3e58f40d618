"""Whether the order in which a paper ranks its rows holds in ours: a claim that other data can test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from avatarbench.run.record import MetricRecord
from avatarbench.statistics import printed
from avatarbench.tables.bootstrap import LEVEL, paired
from avatarbench.tables.model import Cell, Group
from avatarbench.tables.published import PublishedValue


@dataclass(frozen=True)
class Verdict:
    """One of our metrics under the paper's order. ``best`` and ``whole``: whether its first, and all, are as there."""

    note: str
    best: bool
    whole: bool


def verdict(column: Sequence[PublishedValue], group: Group, metric: MetricRecord) -> Verdict | None:
    """``column`` is the paper's values of one metric; None where fewer than two of its methods are ranked in ours.

    A gap is how far the worse of two, in the paper's eyes, stands behind here: negative where they have changed places.
    Every pair that the paper holds apart is compared; printed are the gaps of neighbours in its order and of its best
    to every other. Where several are its best, each must stand before all that are not.
    """
    cells = {v.method: group.cells[v.method, metric.id] for v in column if (v.method, metric.id) in group.cells}
    theirs = {v.method: v.value for v in column if v.method in cells and cells[v.method].ranked}
    if len(theirs) < 2:
        return None
    ordered = _best_first(theirs, column[0].better)
    ours = _best_first({m: cells[m].result.value for m in ordered}, metric.better)
    behind = {(a, b): _gap(cells[a], cells[b], metric) for a, b in combinations(ordered, 2) if theirs[a] != theirs[b]}
    top = [m for m in ordered if theirs[m] == theirs[ordered[0]]]
    whole = all(gap > 0 for gap in behind.values())
    best = all(gap > 0 for (a, _), gap in behind.items() if a in top)
    apart = [p for p in dict.fromkeys([*pairwise(ordered), *((ordered[0], m) for m in ordered[1:])]) if p in behind]
    if whole:
        said = "holds"
    elif best:
        said = f"does not hold beyond its best; here: {', '.join(ours)}"
    else:
        said = f"does not hold; here: {', '.join(ours)}"
    spread = "; ".join(_said(p, behind[p], cells, metric) for p in apart)
    return Verdict(
        f"{metric.name} in {group.protocol.id}: the paper's order, {', '.join(ordered)} (best first), {said}. "
        f"Gaps{_over(cells[ordered[0]], metric)}: {spread}.",
        best,
        whole,
    )


def summary(verdicts: Sequence[Verdict]) -> str:
    """The verdicts counted."""
    n = len(verdicts)
    return (
        f"The paper's order of rows, in the {n} metric{'s' if n > 1 else ''} measured here: its best is best in "
        f"{sum(v.best for v in verdicts)} of {n}, its whole order holds in {sum(v.whole for v in verdicts)} of {n}."
    )


def incomplete(methods: Sequence[str], group: Group, metrics: Sequence[str]) -> Iterator[str]:
    """What of the paper's order cannot be looked at, since a method has no ranked value under any of ``metrics``."""
    without = [m for m in methods if not any((c := group.cells.get((m, k))) and c.ranked for k in metrics)]
    if without:
        yield f"The order in {group.protocol.id} is without {', '.join(without)}, which have no ranked value there."


def _best_first(values: Mapping[str, float], better: str) -> list[str]:
    """Methods by value; equal ones in the order given."""
    return sorted(values, key=lambda m: values[m], reverse=better == "higher")


def _gap(better: Cell, worse: Cell, metric: MetricRecord) -> float:
    difference = worse.result.value - better.result.value
    return difference if metric.better == "lower" else -difference


def _over(cell: Cell, metric: MetricRecord) -> str:
    if metric.kind == "set":
        return " (a set metric: one value, no interval)"
    known = len(cell.totals)
    return f" paired over {known} identities [{LEVEL:.0%}]" if known > 1 else " (one identity: no interval)"


def _said(pair: tuple[str, str], gap: float, cells: Mapping[str, Cell], metric: MetricRecord) -> str:
    a, b = pair
    text = f"{a} to {b} {printed(gap, metric.digits)}"
    worse, better = (cells[b], cells[a]) if metric.better == "lower" else (cells[a], cells[b])
    known = paired(worse.totals, better.totals)
    if known is None:
        return text
    text += f" [{printed(known.low, metric.digits)}, {printed(known.high, metric.digits)}]"
    return text if known.without_zero else f"{text}, within chance"
