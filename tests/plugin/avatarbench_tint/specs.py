"""What the plugin registers: import-light, as ours are."""

from avatarbench.method import MethodSpec
from avatarbench.metric import MetricSpec

METHOD = MethodSpec(
    id="tint",
    name="Tint",
    summary="The portrait, ten levels darker: a third party's method.",
    factory="avatarbench_tint.tint:Tint",
    status="working",
    licence_code="Apache-2.0",
    needs=("mediapipe",),
)

METRIC = MetricSpec(
    id="mean-shift",
    name="shift",
    version=1,
    kind="pair",
    better="lower",
    unit="levels",
    range=(0.0, 255.0),
    against="source",
    definition="Absolute difference of the images' mean levels.",
    citation="none",
    factory="avatarbench_tint.tint:MeanShift",
)
