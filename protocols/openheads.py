"""The three protocols on OpenHeads, whose truth is known. Data only."""

from avatarbench.protocol import ImageContract, ProtocolSpec, Selection
from avatarbench.protocols.metrics import WITH_TRUTH, WITHOUT_TRUTH

_PORTRAITS = Selection(dataset="openheads", limit=1, sequences=("*_PORTRAIT_222200037",))
_EVERYBODY = Selection(dataset="openheads", sequences=("*_FREE_*",))
_DRIVER_509 = Selection(dataset="openheads", sequences=("509_FREE_*",))
_REAL = Selection(dataset="openheads", sequences=("*_PORTRAIT_*", "*_FREE_*"))
_WHOLE_PICTURE = ImageContract(size=256, crop="none")

_SPLIT = (
    "Split: ours, generated; 9 people (501 to 509) whom the training split never draws. Each has one frontal portrait "
    "and 24 time steps of free motion, seen by 3 target cameras in turn, 8 frames each: the frontal one (222200037) "
    "and one more from either side, within 32 degrees, drawn with the split's seed. Seeds and sizes stand in "
    "avatarbench/openheads/test/openheads.json. "
)
_MANIFEST_RULE = (
    "Motion is what the tracker reads off the driver's frame, never truth; cameras are the calibrated ones. Pictures "
    "are used whole, on their white ground. The resolved pairs ship in protocols/manifests."
)
_FIXED_MOTION = (
    "Drivers: the 24 frames of person 509, the same motion for every source, as in the paper's setting; sources: the "
    "portraits of 501 to 508, so 192 pairs. "
)

OPENHEADS_SELF = ProtocolSpec(
    id="openheads-self",
    version=1,
    name="OpenHeads, self-reenactment",
    task="self",
    summary="each person's portrait driven by the same person's 24 frames from 3 cameras, which are the truth",
    sources=_PORTRAITS,
    drivers=_EVERYBODY,
    metrics=WITH_TRUTH,
    provides=("image", "mediapipe", "flame", "camera", "target", "views"),
    image=_WHOLE_PICTURE,
    reference="targets",
    manifest="avatarbench.protocols:manifests/openheads-self.json",
    notes=_SPLIT + "9 x 24 = 216 pairs. " + _MANIFEST_RULE,
)

OPENHEADS_CROSS = ProtocolSpec(
    id="openheads-cross",
    version=1,
    name="OpenHeads, cross-reenactment",
    task="cross",
    summary="eight people's portraits driven by one fixed motion sequence of a ninth person, from 3 cameras",
    sources=_PORTRAITS,
    drivers=_DRIVER_509,
    metrics=WITHOUT_TRUTH,
    provides=("image", "mediapipe", "flame", "camera", "views"),
    image=_WHOLE_PICTURE,
    reference="identity",
    references=_REAL,
    manifest="avatarbench.protocols:manifests/openheads-cross.json",
    notes=_SPLIT
    + _FIXED_MOTION
    + "Set metrics compare with all real frames of the sources, portrait and free motion, 8 x 25 = 200; pictures of "
    "the sources under 509's motion are not among them. Motion is compared with the driver's frame, identity with the "
    "portrait. " + _MANIFEST_RULE,
)

OPENHEADS_CROSS_GT = ProtocolSpec(
    id="openheads-cross-gt",
    version=1,
    name="OpenHeads, cross-reenactment with truth",
    task="cross",
    summary="the pairs of openheads-cross with the true picture of the source under the driver's motion",
    sources=_PORTRAITS,
    drivers=_DRIVER_509,
    metrics=WITH_TRUTH,
    provides=("image", "mediapipe", "flame", "camera", "target", "views"),
    image=_WHOLE_PICTURE,
    reference="targets",
    truth="{source}_{sequence}-AS-{driver}_{camera}",
    manifest="avatarbench.protocols:manifests/openheads-cross-gt.json",
    notes=_SPLIT
    + _FIXED_MOTION
    + "The true picture shows the source with the driver's expression, pose and camera, so PSNR, SSIM and LPIPS mean "
    "something across identities, and set metrics compare with the 192 true pictures. AKD, APD and AED compare with "
    "the driver's frame and identity with the portrait, as in openheads-cross: what the oracle scores there is what a "
    "perfect method scores, which is not the best value. " + _MANIFEST_RULE,
)
