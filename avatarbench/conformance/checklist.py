"""What a check found: rows with an outcome, a reason and what to do. Import-light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Outcome = Literal["pass", "warning", "fail", "n/a"]
Verdict = Literal["pass", "fail", "not run"]


@dataclass(frozen=True)
class Row:
    """One rule. ``found``: what was seen, or why the rule does not apply; ``todo``: what a warning or fail asks for."""

    group: str
    name: str
    outcome: Outcome
    found: str
    todo: str = ""


@dataclass
class Checklist:
    """All rows of one method. ``blocked``: what it lacks here, so that none of its code was run; ``figures``: seconds,
    frames a second and MiB by name."""

    method: str
    rows: list[Row] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """``fail`` where any row is, ``not run`` where the method could not be started here."""
        if any(row.outcome == "fail" for row in self.rows):
            return "fail"
        return "not run" if self.blocked else "pass"

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"

    def count(self, outcome: Outcome) -> int:
        return sum(row.outcome == outcome for row in self.rows)

    def of(self, outcomes: Sequence[Outcome]) -> list[Row]:
        """The rows with one of ``outcomes``, in order."""
        return [row for row in self.rows if row.outcome in outcomes]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``: the fields, with the verdict and the counts."""
        outcomes: tuple[Outcome, ...] = ("pass", "warning", "fail", "n/a")
        return {
            "method": self.method,
            "verdict": self.verdict,
            "blocked": self.blocked,
            "counts": {outcome: self.count(outcome) for outcome in outcomes},
            "figures": self.figures,
            "rows": [asdict(row) for row in self.rows],
        }

    def __str__(self) -> str:
        """What went wrong, for a failing test."""
        lines = [f"{row.outcome}: {row.name}: {row.found} {row.todo}".rstrip() for row in self.of(("fail", "warning"))]
        return "\n".join([f"{self.method}: {self.verdict}", *self.blocked, *lines])
