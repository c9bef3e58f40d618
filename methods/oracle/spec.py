"""What can be said of the oracle without importing it."""

from avatarbench.method import MethodSpec

SPEC = MethodSpec(
    id="oracle",
    name="Oracle",
    summary="the ceiling: returns the true frame, where the protocol has one",
    factory="avatarbench.methods.oracle.method:Oracle",
    status="working",
    licence_code="Apache-2.0",
    needs=("target",),
    role="bound",
    notes="A metric that compares with the true frame is at its best value by construction: where it is not, the "
    "metric or the run is broken. In self-reenactment that is every metric. In openheads-cross-gt, motion is compared "
    "with the driver's frame and identity with the portrait: what the oracle scores there is what a perfect method "
    "would. Protocols without a true frame cannot run it.",
)
