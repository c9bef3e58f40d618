"""The one rule of metrics that compare pixel by pixel."""

from __future__ import annotations

from avatarbench.errors import Unscorable
from avatarbench.metrics.features import Frame


def require_same_size(prediction: Frame, reference: Frame) -> None:
    """Raises Unscorable naming both sizes (width x height) where they differ: nothing is resized silently."""
    ours, theirs = prediction.image.shape, reference.image.shape
    if ours != theirs:
        raise Unscorable(f"prediction is {ours[1]}x{ours[0]}, reference {theirs[1]}x{theirs[0]}")
