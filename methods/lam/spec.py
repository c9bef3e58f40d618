"""What can be said of LAM without importing it."""

from avatarbench.method import Framing, MethodSpec

SPEC = MethodSpec(
    id="lam",
    name="LAM",
    summary="large avatar model: Gaussians on a FLAME head from one picture, in one pass; its authors' code",
    factory="avatarbench.methods.lam.adapter:Lam",
    status="unverified",
    licence_code="Apache-2.0",
    licence_weights="CC-BY-NC-4.0",
    paper="https://arxiv.org/abs/2502.17796",
    repository="https://github.com/aigc3d/LAM",
    commit="44a7ddbc002b0e898946789024a8620ef61c3a18",
    environment="avatarbench.methods.lam.recipe:RECIPE",
    needs=("image", "flame", "camera"),
    trained_on=("vfhq", "nersemble"),
    framing=Framing(size=512, scale=2.2, background="white"),
    notes="Driven by imported FLAME tracking (VHAP's form) and the driver's camera; it tracks the portrait itself. "
    "Its released weights are trained on VFHQ and NeRSemble: test persons may be among them. White background.",
)
