"""The protocols on VFHQ's test clips: Table S1 of AvatarPointillist, Tables 1 and 3 to 5 of SplitAvatar. Data only."""

from dataclasses import replace

from avatarbench.protocol import ImageContract, ProtocolSpec, Selection, Split
from avatarbench.protocols.metrics import WITH_TRUTH, WITHOUT_TRUTH

_SPLIT = Split(seed=1, people=50, frames=100, drivers="own", source="first", draw="random")

_STATED = (
    "50 test videos of VFHQ (SplitAvatar, section 4.1).",
    "The first frame is the source; 100 frames drawn at random are the drivers and targets (SplitAvatar, section 4.1).",
    "Backgrounds are removed and pictures resized to 512 x 512 (SplitAvatar, section 4.1).",
    "Cross-reenactment is judged without a true frame, by identity, pose and key points (SplitAvatar, section 4.2).",
    "AvatarPointillist's Table S1 says no more than the data set's name.",
)
_OURS = (
    "Clips: every clip of the folder in the order of sha256 of seed "
    f"{_SPLIT.seed} and its name; at most 50. With the 50 of VFHQ-Test that is all of them.",
    "Driver frames: 100 of the frames after the first, drawn by sha256 of the seed, the clip and the frame's index, in "
    "temporal order; a clip with fewer gives all of them, and a note says so. The source never drives itself.",
    "Image: 512 x 512, sRGB values as stored; a square around the face of the clip's first frame with one, 1.8 times "
    "the face; behind the person black where every clip has masks (data prepare --mattes), else kept, and a note says "
    "so. One Lanczos resampling.",
    "Metrics are this project's; the papers' AED, APD and AKD rest on other estimators and are not comparable.",
)

VFHQ_SELF = ProtocolSpec(
    id="vfhq-self",
    version=1,
    name="VFHQ, self-reenactment",
    task="self",
    summary="the first frame of 50 test clips driven by 100 later frames of the same clip, which are the truth",
    sources=Selection(dataset="vfhq"),
    drivers=Selection(dataset="vfhq"),
    metrics=WITH_TRUTH,
    provides=("image", "mediapipe", "flame", "target"),
    image=ImageContract(size=512, background="black"),
    reference="targets",
    split=_SPLIT,
    stated=_STATED,
    ours=_OURS,
    notes="Split: ours; the rule and the seed ship, the pairs are resolved on your data (manifest: local).",
)

VFHQ_CROSS = replace(
    VFHQ_SELF,
    id="vfhq-cross",
    name="VFHQ, cross-reenactment",
    task="cross",
    summary="the first frame of 50 test clips, each driven by 100 frames of the next person's clip",
    metrics=WITHOUT_TRUTH,
    provides=("image", "mediapipe", "flame"),
    reference="identity",
    split=replace(_SPLIT, drivers="next"),
    ours=(
        *_OURS,
        "Who drives whom is stated nowhere: each clip is driven by the next one of another person, in the order of the "
        "seed and in a ring, by the frames that vfhq-self draws of it. Sets are compared with the frames that "
        "vfhq-self draws of the sources, motion with the driver's frame, identity with the portrait.",
    ),
)
