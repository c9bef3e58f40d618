"""What can be said of gaussian-fit without importing it."""

from avatarbench.method import MethodSpec

SPEC = MethodSpec(
    id="gaussian-fit",
    name="Gaussian fit",
    summary="a Gaussian head fitted on the person's own views from many cameras: what one-shot methods strive for",
    factory="avatarbench.methods.gaussian_fit.method:GaussianFit",
    status="working",
    licence_code="Apache-2.0",
    licence_weights="CC0-1.0 (the avatars of OpenHeads' test split)",
    paper="fitted as in GaussianAvatars (Qian et al., CVPR 2024)",
    needs=("mediapipe", "camera", "views"),
    tracker="face-landmarker",
    trained_on=("openheads",),
    role="bound",
    notes="No one-shot method: it has seen the person from many sides, with exact expression and pose, so it is shown "
    "and never ranked. It is a reference rather than a ceiling: it learnt from a few moments with few Gaussians, and "
    "it is driven like any other method, by what the landmarker reads off the driver, which is also the detector that "
    "judges the mediapipe metrics. No recording that drives a protocol or holds its true frames was learnt from. On "
    "OpenHeads' own test split the avatars ship; for people in a folder of yours they are fitted when first needed and "
    "kept.",
)
