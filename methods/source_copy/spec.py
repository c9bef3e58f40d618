"""What can be said of source-copy without importing it."""

from avatarbench.method import MethodSpec

SPEC = MethodSpec(
    id="source-copy",
    name="Source copy",
    summary="the floor: always returns the portrait, whatever the motion",
    factory="avatarbench.methods.source_copy.method:SourceCopy",
    status="working",
    licence_code="Apache-2.0",
    role="bound",
    notes="Identity metrics are at their best and motion metrics at what doing nothing costs. A method that does not "
    "beat its AKD, APD and AED does not animate.",
)
