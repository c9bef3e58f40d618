"""The verdict as a summary for a pull request: what failed and what improved in sight, the rest folded away."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from avatarbench.gate.terminal import COLUMNS, cells, lines
from avatarbench.gate.verdict import Row, Verdict
from avatarbench.tables.markdown import escape


def render(verdict: Verdict) -> str:
    """GitHub's Markdown, ending in a newline."""
    mark = "❌" if verdict.failed else "✅"
    shown = [r for r in verdict.rows if r.outcome not in ("same", "absent")]
    rest = [r for r in verdict.rows if r.outcome in ("same", "absent")]
    told = lines(verdict)
    parts = [
        f"### {mark} avatarbench {escape(verdict.protocol)}: {escape(verdict.headline())}",
        f"Run {escape(verdict.run)} against {escape(verdict.path)} (saved from run {escape(verdict.saved)}).",
        "\n".join(f"- {'**' + escape(line) + '**'}" for fails, line in told if fails),
        _table(shown),
        _folded(f"{len(rest)} without a change", _table(rest)),
        _folded("Notes", "\n".join(f"- {escape(line)}" for fails, line in told if not fails)),
        "A metric fails where its mean over the paired samples is worse by more than the tolerance and the 95 % "
        "bootstrap interval of the difference, over identities, does not hold zero.",
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    body = [[f"**{escape(c)}**" if c and at == len(COLUMNS) - 1 else escape(c) for at, c in enumerate(cells(r))]
            for r in rows]  # fmt: skip
    align = ["right" if right else "left" for _, right in COLUMNS]
    return tabulate(body, [name for name, _ in COLUMNS], tablefmt="pipe", disable_numparse=True, colalign=align)


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>" if content else ""
