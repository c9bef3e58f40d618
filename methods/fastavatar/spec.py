"""What can be said of FastAvatar without importing it."""

from avatarbench.method import Framing, MethodSpec

SPEC = MethodSpec(
    id="fastavatar",
    name="FastAvatar",
    summary="Gaussian head from any number of pictures, here of one, in one pass; its authors' code",
    factory="avatarbench.methods.fastavatar.adapter:FastAvatar",
    status="unverified",
    licence_code="Apache-2.0",
    licence_weights="not stated",
    paper="https://arxiv.org/abs/2508.18389",
    repository="https://github.com/TyrionWuYue/FastAvatar",
    commit="0b35ec5b2a0ed70cec8c6e5196da4ce38cd1b197",
    environment="avatarbench.methods.fastavatar.recipe:RECIPE",
    needs=("image", "flame", "camera"),
    trained_on=("nersemble", "vfhq"),
    framing=Framing(size=512, scale=2.2, background="white"),
    notes="Driven by imported FLAME tracking (VHAP's form) and the driver's camera; it tracks the portrait itself. It "
    "is made for several pictures and gets one. The driver's own head shape goes with the motion, as its code has it. "
    "White background.",
)
