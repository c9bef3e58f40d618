"""What can be said of face-warp without importing it."""

from avatarbench.method import MethodSpec

SPEC = MethodSpec(
    id="face-warp",
    name="Face warp",
    summary="piecewise-affine warp of the portrait onto the driver's 478 landmarks: a 2D baseline without learning",
    factory="avatarbench.methods.face_warp.method:FaceWarp",
    status="working",
    licence_code="Apache-2.0",
    needs=("mediapipe",),
    tracker="face-landmarker",
    notes="The landmarks are taken as they are, so the driver's face shape comes along with the motion: AKD, APD and "
    "AED are flattered and identity pays. The detector that drives it is also the one that judges it in the "
    "mediapipe metrics. It invents nothing that the portrait does not show: a mouth opened wider than the "
    "portrait's is dark, an eye that the portrait has closed stays dark, and the far side of a turned head is "
    "stretched.",
)
