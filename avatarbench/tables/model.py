"""The table as data: what every renderer reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from avatarbench.metric import MetricSpec
from avatarbench.run.record import MethodRecord, MetricRecord, ProtocolRecord, Result
from avatarbench.statistics import Mark, eligible
from avatarbench.tables.bootstrap import Interval, Totals, interval


@dataclass(frozen=True)
class Cell:
    """One method under one metric of one protocol. ``run`` is the run that the value comes from, if any."""

    result: Result
    mark: Mark | None
    ranked: bool
    run: str | None
    totals: Totals = field(default_factory=dict, repr=False)
    """Of the frames behind the value, by identity; empty for a set metric."""

    @cached_property
    def interval(self) -> Interval | None:
        return interval(self.totals)

    @property
    def complete(self) -> bool:
        return self.result.n_valid == self.result.n_total

    @property
    def below_coverage(self) -> bool:
        """Has a value, but over too few frames to be compared."""
        return self.result.n_valid > 0 and not eligible(self.result.n_valid, self.result.n_total)


@dataclass(frozen=True)
class Group:
    """The columns of one protocol. ``methods`` are the records of the rows that ran in it, by id."""

    protocol: ProtocolRecord
    runs: tuple[str, ...]
    metrics: tuple[MetricRecord, ...]
    methods: Mapping[str, MethodRecord]
    cells: Mapping[tuple[str, str], Cell] = field(repr=False)


@dataclass(frozen=True)
class Row:
    """One method over all groups."""

    id: str
    name: str
    bound: bool
    sees_views: bool
    """Handed more pictures of the person than the portrait."""
    tracker_is_judge: tuple[str, ...]
    in_domain: tuple[str, ...]
    """Protocols on whose data's family it was trained."""


@dataclass(frozen=True)
class Table:
    """Rows in the order first seen, groups self before cross."""

    rows: tuple[Row, ...]
    groups: tuple[Group, ...]
    digits: int | None = None
    """Decimals for every metric; None takes each metric's own."""
    notes: tuple[str, ...] = ()
    intervals: bool = False
    """Whether the cells are printed with theirs."""

    def decimals(self, metric: MetricRecord) -> int:
        return metric.digits if self.digits is None else self.digits


ARROWS = {"lower": "↓", "higher": "↑"}


def heading(metric: MetricRecord | MetricSpec) -> str:
    """``PSNR ↑ (dB)``."""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.name} {ARROWS[metric.better]}{unit}"
