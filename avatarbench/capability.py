"""Whether a method can run on a protocol at all: the one rule that preflight and ``show`` share."""

from __future__ import annotations

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
