"""What a check found, as data: every renderer and the exit code read this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avatarbench.gate.baseline import MetricPart
from avatarbench.statistics import printed

Outcome = Literal["regressed", "lost", "changed", "unmeasured", "improved", "unsure", "same", "absent"]
"""``regressed``: worse by more than the tolerance and separated from zero. ``lost``: fewer samples have a value.
``changed``: measured otherwise than the baseline, so not compared. ``unmeasured``: the baseline has it, the run does
not. ``unsure``: beyond the tolerance, not separated from zero. ``absent``: the baseline has no value."""

FAILING: frozenset[Outcome] = frozenset({"regressed", "lost", "changed", "unmeasured"})

Kind = Literal["protocol", "manifest", "data", "samples", "methods", "options", "metrics", "weights", "environment"]


@dataclass(frozen=True)
class Finding:
    """Something about the run as a whole, or about a metric's definition. A note where it does not fail."""

    kind: Kind
    fails: bool
    message: str


@dataclass(frozen=True)
class Row:
    """One metric of one method. ``change`` is now minus baseline, in the metric's unit, and so are ``low``, ``high``.

    ``baseline`` and ``now`` are means over the ``paired`` samples that both have a value for.
    """

    method: str
    metric: MetricPart
    outcome: Outcome
    baseline: float | None = None
    now: float | None = None
    change: float | None = None
    tolerance: float | None = None
    low: float | None = None
    high: float | None = None
    identities: int = 0
    paired: int = 0
    valid_then: int = 0
    valid_now: int = 0
    message: str = ""

    @property
    def fails(self) -> bool:
        return self.outcome in FAILING

    def text(self, value: float | None, signed: bool = False) -> str:
        """``value`` with one decimal more than tables print, since the gate sees smaller changes."""
        if value is None:
            return ""
        digits = printed(value, self.metric.digits + 1)
        return f"+{digits}" if signed and value > 0 and not digits.startswith("-") else digits

    @property
    def between(self) -> str:
        """The interval of the change, or nothing where there is none."""
        return "" if self.low is None else f"[{self.text(self.low, True)}, {self.text(self.high, True)}]"


@dataclass(frozen=True)
class Verdict:
    """``run`` held against the baseline in the file ``path``, which was saved of the run ``saved``."""

    run: str
    path: str
    saved: str
    protocol: str
    findings: tuple[Finding, ...]
    rows: tuple[Row, ...]

    @property
    def failed(self) -> bool:
        return any(f.fails for f in self.findings) or any(r.fails for r in self.rows)

    def of(self, *outcomes: Outcome) -> list[Row]:
        return [r for r in self.rows if r.outcome in outcomes]

    def headline(self) -> str:
        """One sentence: what it comes to."""
        counts = {
            "worse": len(self.of("regressed")),
            "with lost coverage": len(self.of("lost")),
            "not comparable": len(self.of("changed")),
            "no longer measured": len(self.of("unmeasured")),
            "better": len(self.of("improved")),
            "beyond tolerance but not certain": len(self.of("unsure")),
        }
        told = [f"{n} {what}" for what, n in counts.items() if n]
        if faults := [f.kind for f in self.findings if f.fails]:
            told.append(f"other {', '.join(dict.fromkeys(faults))}")
        unchanged = len(self.of("same"))
        told.append(f"{unchanged} unchanged within tolerance")
        return f"{'FAILED' if self.failed else 'passed'}: {'; '.join(told)}."
