"""Which of our metrics stand beside a paper's, and whether a difference between the two means anything.

The field has no common definition of AKD, AED, APD or CSIM, and papers leave out nets, units and sample counts. So each
pair is judged from what the paper says (``published.csv`` keeps it) and from what ours is (docs/metrics.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from avatarbench.tables.published import PublishedValue, Task

Level = Literal["comparable", "definition unknown", "not comparable"]
"""``comparable``: of one definition; ``not comparable``: of two; ``definition unknown``: the paper does not say."""


@dataclass(frozen=True)
class Beside:
    """One of our metrics beside one of a paper's. ``why`` is empty where the paper's own definition says it all."""

    id: str
    level: Level
    why: str = ""


RULES: dict[tuple[str, str], tuple[Beside, ...]] = {
    ("avatarpointillist", "LPIPS"): (
        Beside("lpips-vgg", "definition unknown"),
        Beside("lpips-alex", "definition unknown"),
    ),
    ("avatarpointillist", "FID"): (
        Beside("fid", "definition unknown"),
        Beside("fd-vgg", "not comparable", "features of VGG16, not of Inception"),
    ),
    ("avatarpointillist", "AKD"): (Beside("akd-mediapipe", "definition unknown"),),
    ("avatarpointillist", "APD"): (
        Beside("apd-6drepnet360", "definition unknown"),
        Beside("apd-mediapipe", "not comparable", "pose of MediaPipe's landmarker, not of 6DRepNet360"),
    ),
    ("avatarpointillist", "CLIP"): (
        Beside("clip", "definition unknown"),
        Beside("csim-dlib", "not comparable", "identity by a face network, not CLIP's embedding"),
    ),
    ("splitavatar", "PSNR"): (Beside("psnr", "comparable"),),
    ("splitavatar", "SSIM"): (Beside("ssim", "definition unknown"),),
    ("splitavatar", "LPIPS"): (
        Beside("lpips-vgg", "comparable"),
        Beside("lpips-alex", "not comparable", "AlexNet, where the paper takes VGG"),
    ),
    ("splitavatar", "CSIM"): (
        Beside("csim-arcface", "definition unknown", "which ArcFace network is not stated"),
        Beside("csim-dlib", "not comparable", "dlib's network, not ArcFace"),
    ),
    ("splitavatar", "AED"): (
        Beside("aed-mediapipe", "not comparable", "MediaPipe's blendshape scores, not Deep3DFaceRecon's coefficients"),
    ),
    ("splitavatar", "APD"): (
        Beside("apd-6drepnet360", "not comparable", "degrees of 6DRepNet360, not Deep3DFaceRecon's parameters"),
        Beside(
            "apd-mediapipe", "not comparable", "degrees of MediaPipe's landmarker, not Deep3DFaceRecon's parameters"
        ),
    ),
    ("splitavatar", "AKD"): (
        Beside("akd-mediapipe", "not comparable", "478 landmarks of MediaPipe in pixels, not 68 of FAN, normalised"),
    ),
}
"""By paper and its metric, in the order of the columns."""

TO_SOURCE = Beside("csim-arcface", "not comparable", "ours compares with the target frame, the paper with the source")
"""SplitAvatar measures identity against the source in self-reenactment too (section 4.2)."""

LEVELS: Sequence[Level] = ("comparable", "definition unknown", "not comparable")


def beside(paper: str, metric: str, task: Task) -> tuple[Beside, ...]:
    """Ours beside ``metric`` of ``paper`` in ``task``; none where we measure nothing of the kind."""
    found = RULES.get((paper, metric), ())
    if (paper, metric, task) == ("splitavatar", "CSIM", "self"):
        return tuple(TO_SOURCE if b.id == TO_SOURCE.id else b for b in found)
    return found


def comparability(value: PublishedValue) -> Level:
    """The best that any of our metrics reaches beside this number."""
    levels = {b.level for b in beside(value.paper, value.metric, value.task)}
    return next((level for level in LEVELS if level in levels), "not comparable")
