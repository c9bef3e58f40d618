"""What protocols ask for: everything that the truth they have allows."""

PIXELS = ("psnr", "ssim", "lpips-alex", "lpips-vgg")
SETS = ("fid", "kid", "fd-vgg")
MOTION = (
    "akd-mediapipe",
    "akd-mediapipe-iod",
    "apd-mediapipe",
    "apd-mediapipe-geodesic",
    "apd-6drepnet360",
    "apd-6drepnet360-geodesic",
    "apd-6drepnet360-squared",
    "aed-mediapipe",
)
IDENTITY = ("csim-dlib", "csim-arcface", "clip")

WITH_TRUTH = (*PIXELS, *SETS, *MOTION, *IDENTITY)
WITHOUT_TRUTH = (*SETS, *MOTION, *IDENTITY)
