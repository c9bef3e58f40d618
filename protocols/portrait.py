"""The two protocols on real faces that run without an application form. Data only."""

from avatarbench.protocol import ProtocolSpec, Selection

_MOTION = (
    "akd-mediapipe",
    "akd-mediapipe-iod",
    "apd-mediapipe",
    "apd-mediapipe-geodesic",
    "apd-6drepnet360",
    "aed-mediapipe",
)
_IDENTITY = ("csim-dlib", "csim-arcface", "clip")

PORTRAIT_CROSS = ProtocolSpec(
    id="portrait-cross",
    version=1,
    name="Portrait, cross-reenactment",
    task="cross",
    summary="real portraits driven by another person's real clip, every 8th frame",
    sources=Selection(dataset="portraits", limit=1),
    drivers=Selection(dataset="clip", stride=8),
    metrics=(*_IDENTITY, "fid", "fd-vgg", *_MOTION),
    provides=("image", "mediapipe", "flame"),
    reference="identity",
    notes="Source: the first frame of each sequence of the portraits, so one picture a person. Drivers: every 8th of "
    "the clip's 472 frames (3 a second), which keeps every expression and leaves out near copies. There is no "
    "true frame, so PSNR, SSIM and LPIPS are not asked for. Identity is compared with the portrait, motion with"
    " the driver's frame. fid and fd-vgg compare with the portraits themselves: below their least number of "
    "reference frames, and that includes the embedded single portrait, they have no value, and the table says "
    "why. kid is left out, since it draws subsets from a reference set that a folder of portraits does not "
    "fill. The crop is fixed for a sequence (the first frame with a face), so that a head that moves is seen to"
    " move.",
)

CLIP_SELF = ProtocolSpec(
    id="clip-self",
    version=1,
    name="Clip, self-reenactment",
    task="self",
    summary="the first frame of a real clip driven by its later frames, which are the truth; every 8th frame",
    sources=Selection(dataset="clip", limit=1),
    drivers=Selection(dataset="clip", stride=8),
    metrics=(
        *("psnr", "ssim", "lpips-alex", "lpips-vgg", "fid", "kid", "fd-vgg"),
        *_MOTION,
        *_IDENTITY,
    ),
    provides=("image", "mediapipe", "flame", "target"),
    reference="targets",
    notes="Source: frame 0 of each sequence, as in the VFHQ tables. Drivers: every 8th frame, the source "
    "never among them. The driver's frame is the target, so every metric compares with it, identity included. Frame 0"
    " of the embedded clip looks down with its mouth closed, and hands cover a part of the face in some frames:"
    " both are hard for a one-shot method, and both are left in. 58 frames are few for fid and kid: read them "
    "within one table, never beside numbers from larger sets.",
)
