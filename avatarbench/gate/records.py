"""The verdict as JSON, for programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from avatarbench.gate.verdict import Verdict

VERSION = 1


def render(verdict: Verdict) -> str:
    """An object with ``version``, ``failed``, ``findings`` and ``rows``; what has no value is null, never NaN."""
    content = {
        "version": VERSION,
        "failed": verdict.failed,
        "headline": verdict.headline(),
        "run": verdict.run,
        "baseline": {"path": verdict.path, "run": verdict.saved},
        "protocol": verdict.protocol,
        "findings": [asdict(f) for f in verdict.findings],
        "rows": [
            {"method": r.method, "metric": r.metric.id, "better": r.metric.better, "unit": r.metric.unit}
            | {key: value for key, value in asdict(r).items() if key not in ("method", "metric")}
            | {"fails": r.fails}
            for r in verdict.rows
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
