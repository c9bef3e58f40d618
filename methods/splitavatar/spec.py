"""SplitAvatar, as far as it can be said without its code, which is not public."""

from avatarbench.method import MethodSpec

SPEC = MethodSpec(
    id="splitavatar",
    name="SplitAvatar",
    summary="one-shot head avatars by splitting Gaussians autoregressively: published figures only, no public code",
    factory="",
    status="unavailable",
    licence_code="none: not public",
    licence_weights="none: not public",
    paper="https://arxiv.org/abs/2605.25751",
    notes="Its authors have released neither code nor weights, so nothing is run under its name. Its published figures "
    "stand in the paper tables; `avatarbench list methods` names it so that its absence is a statement.",
)
