"""What can be said of Portrait4D-v2 without importing it."""

from avatarbench.method import Framing, MethodSpec

SPEC = MethodSpec(
    id="portrait4dv2",
    name="Portrait4D-v2",
    summary="a 4D head synthesizer learnt from pseudo multi-view videos: tri-planes; its authors' code",
    factory="avatarbench.methods.portrait4d_v2.adapter:Portrait4Dv2",
    status="unverified",
    licence_code="MIT",
    licence_weights="not stated",
    paper="https://arxiv.org/abs/2403.13570",
    repository="https://github.com/YuDeng/Portrait-4D",
    commit="9e8af99c38f597a5bfcfb56d3b9a183612bd2173",
    environment="avatarbench.methods.portrait4d_v2.recipe:RECIPE",
    needs=("image",),
    tracker="Portrait-4D's own (RetinaFace, H3R, 3DFAN, Deep3DFace)",
    trained_on=("vfhq",),
    framing=Framing(size=512, scale=1.6, alpha=True),
    notes="Tracks source and drivers itself, in 512 x 512 crops that it aligns by five points; its pictures are put "
    "back into the driver's frame by the crop it made, and the protocol's colour is where that does not reach. Head "
    "pose is by FLAME parameters of its light-weight mapping from BFM (--use_simplified), expression by PD-FGC's "
    "embedding.",
)
