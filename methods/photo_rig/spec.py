"""What can be said of photo-rig without importing it."""

from avatarbench.method import MethodSpec

SPEC = MethodSpec(
    id="photo-rig",
    name="Photo rig",
    summary="the Anny rig fitted to the portrait, covered with Gaussians that the photograph colours: 3D, no training",
    factory="avatarbench.methods.photo_rig.method:PhotoRig",
    status="working",
    licence_code="Apache-2.0",
    needs=("mediapipe",),
    wants=("camera",),
    tracker="face-landmarker",
    notes="Everything comes from the one photograph: what it hides takes the colour of the mirrored side, or of its "
    "neighbourhood. Hair and shoulders stand on a sheet beside the head, not on a shape of their own. Expression and "
    "pose are the face landmarker's, which is also the judge of the mediapipe metrics.",
)
