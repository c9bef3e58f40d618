"""What can be said of the oracle without importing it."""

from avatarbench.method import MethodSpec

SPEC = MethodSpec(
    id="oracle",
    name="Oracle",
    summary="the ceiling: returns the true frame; self-reenactment only",
    factory="avatarbench.methods.oracle.method:Oracle",
    status="working",
    licence_code="Apache-2.0",
    needs=("target",),
    role="bound",
    notes="Every metric is at its best value by construction. Where it is not (a set metric of two equal sets, a "
    "detector that is not deterministic), the metric or the run is broken. Protocols without a true frame "
    "cannot run it.",
)
