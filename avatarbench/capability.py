"""Whether a method can run on a protocol, and what it then reads: the rules that preflight, run and ``show`` share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from avatarbench.method import MethodSpec, Need
from avatarbench.protocol import ProtocolSpec


def obstacle(method: MethodSpec, protocol: ProtocolSpec) -> str | None:
    """Why ``method`` cannot run on ``protocol``, as short as a table's cell; None where it can."""
    if method.status == "unavailable":
        return "no public code"
    lacks = [
        need for need in method.needs if need not in protocol.provides and not _by_tracking(need, method, protocol)
    ]
    return f"needs {', '.join(lacks)}" if lacks else None


def granted(method: MethodSpec, protocol: ProtocolSpec, absent: Collection[Need] = ()) -> MethodSpec:
    """``method`` with ``needs`` all that a run fills in for it, and ``wants`` those of them that it could do without.

    A want is granted where ``protocol`` provides it and the run's data has it: ``absent`` is what that data lacks.
    """
    there = set(protocol.provides) - {*method.needs, *absent}
    wants = tuple(want for want in method.wants if want in there)
    return replace(method, needs=(*method.needs, *wants), wants=wants)


def _by_tracking(need: Need, method: MethodSpec, protocol: ProtocolSpec) -> bool:
    """FLAME parameters are told by a camera, which their tracker brings along."""
    return need == "camera" and "flame" in method.needs and "flame" in protocol.provides
