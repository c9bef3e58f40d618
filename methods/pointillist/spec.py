"""What can be said of AvatarPointillist and of its ablations without importing them."""

from dataclasses import replace

from avatarbench.method import MethodSpec

WEIGHTS = "avatarbench.methods.pointillist:weights/"
STAGE_ONE = f"{WEIGHTS}mini.safetensors"

SPEC = MethodSpec(
    id="pointillist",
    name="AvatarPointillist (mini)",
    summary="one portrait to a rigged cloud of Gaussians, point by point; ours, trained on OpenHeads",
    factory="avatarbench.methods.pointillist.method:Pointillist",
    status="working",
    licence_code="Apache-2.0",
    licence_weights="Apache-2.0 (trained here, on OpenHeads)",
    paper="AvatarPointillist: AutoRegressive 4D Gaussian Avatarization",
    assets=("lpips-vgg16",),
    ships=(STAGE_ONE, f"{WEIGHTS}mini-decoder.safetensors"),
    needs=("mediapipe",),
    wants=("camera",),
    tracker="face-landmarker",
    trained_on=("openheads",),
    notes="An independent implementation. The paper's weights, rig (FLAME) and training data (NeRSemble) are not here: "
    "mini binds at most 1,500 Gaussians to Anny's head and has learnt from OpenHeads' rendered people alone, so that "
    "the paper's numbers are out of reach. The portrait is tracked, and the avatar driven, by the face landmarker, "
    "which is also the judge of the mediapipe metrics. What is behind the person is white.",
)

BRINGS = "Its decoder does not ship: 'make mini' trains it, and the option 'decoder' names it. "

FLAME_POSITION = replace(
    SPEC,
    id="pointillist/flame-position",
    name="AvatarPointillist (mini): the rig's vertices",
    summary="ablation: Gaussians at the rig's vertices, no autoregressive model",
    factory="avatarbench.methods.pointillist.ablations:FlamePosition",
    ships=(STAGE_ONE,),
    brings=("decoder",),
    notes=BRINGS + SPEC.notes,
)
AR_FEATURE = replace(
    SPEC,
    id="pointillist/ar-feature",
    name="AvatarPointillist (mini): features alone",
    summary="ablation: the decoder reads the autoregressive model's states and no positions",
    factory="avatarbench.methods.pointillist.ablations:ArFeature",
    ships=(STAGE_ONE,),
    brings=("decoder",),
    notes=BRINGS + SPEC.notes,
)
AR_POSITION = replace(
    SPEC,
    id="pointillist/ar-position",
    name="AvatarPointillist (mini): positions alone",
    summary="ablation: the decoder reads the generated positions and no states",
    factory="avatarbench.methods.pointillist.ablations:ArPosition",
    ships=(STAGE_ONE,),
    brings=("decoder",),
    notes=BRINGS + SPEC.notes,
)
