"""What can be said of GAGAvatar without importing it."""

from dataclasses import replace

from avatarbench.method import Framing, MethodSpec

SPEC = MethodSpec(
    id="gagavatar",
    name="GAGAvatar",
    summary="Gaussians lifted from one picture to both sides of its plane, with a FLAME head; its authors' code",
    factory="avatarbench.methods.gagavatar.adapter:GagAvatar",
    status="unverified",
    licence_code="MIT",
    licence_weights="not stated; its tracker CC-BY-NC-4.0",
    paper="https://arxiv.org/abs/2410.07971",
    repository="https://github.com/xg-chu/GAGAvatar",
    commit="b7686857dbe8c58cd4d3acba9d11bd4286e05271",
    environment="avatarbench.methods.gagavatar.recipe:RECIPE",
    needs=("image",),
    tracker="gagavatar-track",
    trained_on=("vfhq",),
    framing=Framing(size=512, scale=2.2, background="black"),
    notes="Portrait and drivers are tracked by its own tracker, frame by frame, without its smoothing of videos. "
    "Driven by imported FLAME tracking it is the method gagavatar-flame. Black background.",
)

BY_FLAME = replace(
    SPEC,
    id="gagavatar-flame",
    name="GAGAvatar (FLAME)",
    summary="GAGAvatar driven by imported FLAME tracking, which is converted to its own FLAME through the mesh",
    factory="avatarbench.methods.gagavatar.adapter:GagAvatarByFlame",
    needs=("image", "flame", "camera"),
    tracker=None,
    notes="Drivers, and portraits that were tracked, come from imported FLAME tracking (--tracker, --tracking), which "
    "FLAME as you imported it makes vertices of; its own FLAME and its camera are fitted to these, and what that "
    "leaves is noted. It has no neck joint. Other portraits are tracked by its own tracker. Black background.",
)
