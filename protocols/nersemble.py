"""The protocols on NeRSemble: Tables 1 and 2 of AvatarPointillist. Data only."""

from dataclasses import replace

from avatarbench.protocol import Cameras, ImageContract, ProtocolSpec, Selection, Split
from avatarbench.protocols.metrics import WITH_TRUTH, WITHOUT_TRUTH

FRONTAL = "222200037"

_SPLIT = Split(
    seed=1,
    people=25,
    frames=25,
    drivers="own",
    source="middle",
    draw="spread",
    recording="FREE",
    cameras=Cameras(frontal=FRONTAL, count=4, within=45.0),
    reserved=1,
)

_STATED = (
    "NeRSemble has 419 identities; 25 drawn at random are the test set (section 5.1).",
    "Self-reenactment: the source is a random intermediate frame with minimal occlusion (section 5.3).",
    "Every method gets the same source of an identity (section 5.3).",
    "Cross-reenactment: one fixed motion sequence is the target of all methods (section 5.3).",
    "Viewpoints are diverse (section 5.2), and input cameras aligned across methods (section 5.3).",
)
_OURS = (
    "People: which 25 is not disclosed. All who have the recording FREE from the frontal camera "
    f"{FRONTAL} and a calibration stand in the order of sha256 of seed {_SPLIT.seed} and their number. The first, in "
    "an order of its own, is the driver of nersemble-cross and a source of nothing; the next 25 are the test set. "
    "Somebody who is missing or damaged is replaced by the next in order, named in the run's notes, and moves nobody "
    "else.",
    "Source: frontal camera, FREE. Frames of the middle half are looked at in a seeded order; the first is taken on "
    "which MediaPipe's landmarker finds one face, turned and nodded by at most 20 degrees, both eyes open (blink at "
    "most 0.5) and every landmark inside the picture. A hand before the mouth is not told by this rule.",
    "Cameras: the frontal one and the first 3, in a seeded order of serials, of those whose axis is within 45 degrees "
    "of it, where the landmarker still finds faces. Who has the same cameras gets the same ones; no method has others.",
    "Driver frames: 25 of each target camera at even steps over FREE, so 100 a person; in self-reenactment the "
    "source's moment is left out in every camera.",
    "Image: 512 x 512, sRGB values as stored; a square around the face of the camera's first frame with one, 1.8 times "
    "the face; behind the person white, by the data's masks or, where it has none, by the picture of the empty stage; "
    "where neither is there, backgrounds are kept, and a note says so. One Lanczos resampling.",
    "Motion and identity are read off the pictures by one tracker for all; a method with a tracker of its own may "
    "use it.",
)

NERSEMBLE_SELF = ProtocolSpec(
    id="nersemble-self",
    version=1,
    name="NeRSemble, self-reenactment",
    task="self",
    summary="25 people's frontal portraits driven by their own FREE recording from 4 cameras, which is the truth",
    sources=Selection(dataset="nersemble", sequences=(f"*_FREE_{FRONTAL}",)),
    drivers=Selection(dataset="nersemble", sequences=("*_FREE_*",)),
    metrics=WITH_TRUTH,
    provides=("image", "mediapipe", "flame", "camera", "target", "views"),
    image=ImageContract(size=512, background="white"),
    reference="targets",
    split=_SPLIT,
    stated=_STATED,
    ours=_OURS,
    notes="Split: ours; the rule and the seed ship, the pairs are resolved on your data (manifest: local).",
)

NERSEMBLE_CROSS = replace(
    NERSEMBLE_SELF,
    id="nersemble-cross",
    name="NeRSemble, cross-reenactment",
    task="cross",
    summary="the portraits of nersemble-self driven by one fixed recording of one more person, from 4 cameras",
    metrics=WITHOUT_TRUTH,
    provides=("image", "mediapipe", "flame", "camera", "views"),
    reference="identity",
    split=replace(_SPLIT, drivers="fixed"),
    ours=(
        *_OURS,
        "Fixed motion: the driver's FREE, the same frames for every source. There is no true picture, so PSNR, SSIM "
        "and LPIPS are not asked for. Motion is compared with the driver's frame, identity with the portrait, and "
        "sets with the real frames that nersemble-self draws of the same sources, portraits included.",
    ),
)

NERSEMBLE_ABLATION = replace(
    NERSEMBLE_SELF,
    id="nersemble-ablation",
    name="NeRSemble, ablation",
    summary="the pairs of nersemble-self under the metrics of the ablation, Table 2",
    metrics=("lpips-alex", "lpips-vgg", "fid", "akd-mediapipe", "apd-mediapipe", "apd-6drepnet360"),
    stated=(
        *_STATED,
        "Table 2 has LPIPS, FID, AKD and APD; its last row is that of Table 1's self-reenactment.",
    ),
    ours=(
        *_OURS,
        "Table 2 does not name its task: its last row says that it is self-reenactment. Its network of LPIPS and its "
        "trackers are not stated either: both networks of LPIPS are there, and APD of two trackers.",
    ),
)
