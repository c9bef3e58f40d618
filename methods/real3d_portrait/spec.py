"""What can be said of Real3D-Portrait without importing it."""

from avatarbench.method import Framing, MethodSpec

SPEC = MethodSpec(
    id="real3dportrait",
    name="Real3D-Portrait",
    summary="image to tri-plane, moved by rendered PNCC maps of a 3DMM; its authors' code",
    factory="avatarbench.methods.real3d_portrait.adapter:Real3DPortrait",
    status="unverified",
    licence_code="MIT",
    licence_weights="not stated",
    paper="https://arxiv.org/abs/2401.08503",
    repository="https://github.com/yerfor/Real3DPortrait",
    commit="a2a961199398ebf26f4953c6294b662c42e58a2e",
    environment="avatarbench.methods.real3d_portrait.recipe:RECIPE",
    needs=("mediapipe",),
    tracker="face-landmarker",
    framing=Framing(size=512, scale=1.8),
    notes="Driven by a video of the driver's frames, in which it tracks MediaPipe's landmarks and fits a BFM: the "
    "detector that judges the mediapipe metrics. It smooths camera and torso over seven frames and keeps the first "
    "frame's distance. A driver without a face is left out of the video, since one would cost all frames.",
)
