"""What every face metric does with its two frames: read the features, and say whose are missing."""

from __future__ import annotations

from avatarbench.errors import Unscorable
from avatarbench.metrics.features import Features, Frame


def face_features(frame: Frame, extractor: str, side: str) -> Features:
    """The frame's features. Raises Unscorable with the side named: "no face found in the driver"."""
    try:
        return frame[extractor]
    except Unscorable as error:
        raise Unscorable(f"{error} in the {side}") from error


def both(prediction: Frame, reference: Frame, extractor: str, side: str) -> tuple[Features, Features]:
    """Features of the prediction and of the reference. Raises Unscorable naming every side that lacks them."""
    reasons: list[str] = []
    found: list[Features] = []
    for frame, name in ((prediction, "prediction"), (reference, side)):
        try:
            found.append(face_features(frame, extractor, name))
        except Unscorable as error:
            reasons.append(str(error))
    if reasons:
        raise Unscorable("; ".join(reasons))
    return found[0], found[1]


def faces_note(prediction: Frame, reference: Frame, side: str) -> str | None:
    """``"2 faces in the prediction, largest taken"`` where an image has more than one face, else None."""
    notes: list[str] = []
    for frame, name in ((prediction, "prediction"), (reference, side)):
        count = frame["face"]["faces"].item()
        if count > 1:
            notes.append(f"{count} faces in the {name}, largest taken")
    return "; ".join(notes) or None
