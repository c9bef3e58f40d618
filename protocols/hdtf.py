"""The protocols on HDTF: Table 2 of SplitAvatar. Data only."""

from dataclasses import replace

from avatarbench.protocol import ImageContract, ProtocolSpec, Selection, Split
from avatarbench.protocols.metrics import WITH_TRUTH, WITHOUT_TRUTH

_SPLIT = Split(seed=1, people=20, frames=230, drivers="own", source="first", draw="random")

_STATED = (
    "The split of earlier work, HideNeRF's and OTAvatar's, whose list of clips the text does not repeat; 230 frames "
    "drawn at random of each clip (SplitAvatar, section 4.1).",
    "Backgrounds are removed and pictures resized to 512 x 512 (SplitAvatar, section 4.1).",
)
_OURS = (
    "Clips: every video of the folder in the order of sha256 of seed "
    f"{_SPLIT.seed} and its name; at most 20. To run an earlier work's split, put its clips alone into the folder, or "
    "name them with sources.sequences=[...].",
    "Source: the first frame, as on VFHQ. Driver frames: 230 of the frames after it, drawn by sha256 of the seed, the "
    "clip and the frame's index, in temporal order; a shorter clip gives all, and a note says so.",
    "Image: 512 x 512, sRGB values as stored; a square around the face of the clip's first frame with one, 1.8 times "
    "the face; behind the person black where every clip has masks (data prepare --mattes), else kept, and a note says "
    "so. One Lanczos resampling.",
    "Metrics are this project's; the paper's AED, APD and AKD rest on other estimators and are not comparable.",
)

HDTF_SELF = ProtocolSpec(
    id="hdtf-self",
    version=1,
    name="HDTF, self-reenactment",
    task="self",
    summary="the first frame of 20 videos driven by 230 later frames of the same video, which are the truth",
    sources=Selection(dataset="hdtf"),
    drivers=Selection(dataset="hdtf"),
    metrics=WITH_TRUTH,
    provides=("image", "mediapipe", "flame", "target"),
    image=ImageContract(size=512, background="black"),
    reference="targets",
    split=_SPLIT,
    stated=_STATED,
    ours=_OURS,
    notes="Split: ours; the rule and the seed ship, the pairs are resolved on your data (manifest: local).",
)

HDTF_CROSS = replace(
    HDTF_SELF,
    id="hdtf-cross",
    name="HDTF, cross-reenactment",
    task="cross",
    summary="the first frame of 20 videos, each driven by 230 frames of the next person's video",
    metrics=WITHOUT_TRUTH,
    provides=("image", "mediapipe", "flame"),
    reference="identity",
    split=replace(_SPLIT, drivers="next"),
    ours=(
        *_OURS,
        "Who drives whom is stated nowhere: each video is driven by the next one of another person, in the order of "
        "the seed and in a ring, by the frames that hdtf-self draws of it. Sets are compared with the frames that "
        "hdtf-self draws of the sources, motion with the driver's frame, identity with the portrait.",
    ),
)
