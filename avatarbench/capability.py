"""Whether a method can run on a protocol, and what it then reads: the rules that preflight, run and ``show`` share."""

from __future__ import annotations

from dataclasses import replace

from avatarbench.method import MethodSpec
from avatarbench.protocol import ProtocolSpec


def obstacle(method: MethodSpec, protocol: ProtocolSpec) -> str | None:
    """Why ``method`` cannot run on ``protocol``, as short as a table's cell; None where it can."""
    if method.status == "unavailable":
        return "no public code"
    if method.environment != "inprocess":
        return f"environment {method.environment}"
    lacks = [need for need in method.needs if need not in protocol.provides]
    return f"needs {', '.join(lacks)}" if lacks else None


def granted(method: MethodSpec, protocol: ProtocolSpec) -> MethodSpec:
    """``method`` with those of its wants among its needs that ``protocol`` provides: what a run fills in for it."""
    wants = tuple(want for want in method.wants if want in protocol.provides and want not in method.needs)
    return replace(method, needs=(*method.needs, *wants), wants=())
