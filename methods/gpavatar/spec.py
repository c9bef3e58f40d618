"""What can be said of GPAvatar without importing it."""

from dataclasses import replace

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
    notes="Portrait and drivers are tracked by its own tracker, frame by frame, without its smoothing of videos. "
    "Driven by imported FLAME tracking it is the method gpavatar-flame. It "
    "takes several pictures of a person and gets one. Black background.",
)

BY_FLAME = replace(
    SPEC,
    id="gpavatar-flame",
    name="GPAvatar (FLAME)",
    summary="GPAvatar driven by imported FLAME tracking, which is converted to its own FLAME through the mesh",
    factory="avatarbench.methods.gpavatar.adapter:GpAvatarByFlame",
    needs=("image", "flame", "camera"),
    tracker=None,
    notes="Drivers, and portraits that were tracked, come from imported FLAME tracking (--tracker, --tracking), which "
    "FLAME as you imported it makes vertices of; its own FLAME and its camera are fitted to these, and what that "
    "leaves is noted. It has no joints of neck and eyes. Other portraits are tracked by its own tracker. Black "
    "background.",
)
