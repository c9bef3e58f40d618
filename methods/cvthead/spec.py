"""What can be said of CVTHead without importing it."""

from avatarbench.method import Framing, MethodSpec

SPEC = MethodSpec(
    id="cvthead",
    name="CVTHead",
    summary="vertex features of a FLAME head by a transformer, rendered as points; its authors' code",
    factory="avatarbench.methods.cvthead.adapter:CvtHead",
    status="unverified",
    licence_code="none: no licence file",
    licence_weights="not stated",
    paper="https://arxiv.org/abs/2311.06443",
    repository="https://github.com/HowieMa/CVTHead",
    commit="4e2981e775ceaac3ecaf2898db1f723788375349",
    environment="avatarbench.methods.cvthead.recipe:RECIPE",
    needs=("image",),
    tracker="CVTHead's own (face-alignment, DECA)",
    trained_on=("voxceleb1",),
    framing=Framing(size=256, scale=1.9, background="white"),
    notes="256 x 256, on white by its own soft mask. Tracks source and driver itself, with DECA; every frame "
    "encodes the source anew, as the original does, which its frames per second include.",
)
