"""FFAvatar, as far as it can be said without its code, which is not public."""

from avatarbench.method import MethodSpec

SPEC = MethodSpec(
    id="ffavatar",
    name="FFAvatar",
    summary="feed-forward 4D head avatars from one or a few portraits: no public code",
    factory="",
    status="unavailable",
    licence_code="none: not public",
    licence_weights="none: not public",
    paper="https://arxiv.org/abs/2606.30347",
    notes="Its authors have released neither code nor weights, so nothing is run under its name. Another paper of the "
    "same name (arXiv 2605.15320) is not meant.",
)
