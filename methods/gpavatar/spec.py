"""What can be said of GPAvatar without importing it."""

from avatarbench.method import Framing, MethodSpec

SPEC = MethodSpec(
    id="gpavatar",
    name="GPAvatar",
    summary="tri-planes and a point-based expression field from one picture; its authors' code",
    factory="avatarbench.methods.gpavatar.adapter:GpAvatar",
    status="unverified",
    licence_code="MIT",
    licence_weights="not stated",
    paper="https://arxiv.org/abs/2401.10215",
    repository="https://github.com/xg-chu/GPAvatar",
    commit="169034e3a954d31fc01aef9c3d3cf19f036ac152",
    environment="avatarbench.methods.gpavatar.recipe:RECIPE",
    needs=("image",),
    tracker="lightning-track",
    trained_on=("vfhq",),
    framing=Framing(size=512, background="black"),
    notes="Portrait and drivers are tracked by its own tracker, frame by frame, without its smoothing of videos. It "
    "takes several pictures of a person and gets one. Black background.",
)
