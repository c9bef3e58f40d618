"""What the scripted sequences ask of a person, in the order and under the names of NeRSemble's sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_ANGLES = (40.0, 20.0, 15.0)
"""Degrees of yaw, pitch and roll that no move exceeds; a living head sways by another degree about it."""


@dataclass(frozen=True)
class Move:
    """A pose to reach. ``actions``: amplitude in [0, 1] by action, or by the stem of a left-right pair;
    ``angles``: degrees yaw, pitch, roll; ``gaze``: degrees to the subject's left and up, None for looking about."""

    actions: Mapping[str, float] = field(default_factory=dict)
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    gaze: tuple[float, float] | None = None


def _faces(*actions: Mapping[str, float]) -> tuple[Move, ...]:
    return tuple(Move(each) for each in actions)


def _heads(*angles: tuple[float, float, float]) -> tuple[Move, ...]:
    return tuple(Move(angles=each) for each in angles)


REST = Move()

_SMILE = {"mouthSmile": 0.9, "cheekSquint": 0.5, "eyeSquint": 0.25, "mouthDimple": 0.3}
_LAUGH = {**_SMILE, "jawOpen": 0.45, "mouthUpperUp": 0.35, "mouthLowerDown": 0.3, "eyeSquint": 0.5}
_SHOUT = {"jawOpen": 0.85, "mouthStretch": 0.4, "mouthLowerDown": 0.5, "mouthUpperUp": 0.3, "browDown": 0.4}
_SURPRISE = {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.9, "jawOpen": 0.5, "mouthFunnel": 0.25}
_FEAR = {"browInnerUp": 0.9, "eyeWide": 0.8, "mouthStretch": 0.7, "jawOpen": 0.2, "mouthLowerDown": 0.3}
_ANGRY = {"browDown": 0.95, "noseSneer": 0.5, "mouthPress": 0.6, "eyeSquint": 0.4, "jawForward": 0.3}
_SAD = {"browInnerUp": 0.85, "mouthFrown": 0.9, "mouthShrugLower": 0.5, "eyeSquint": 0.3}
_DISGUST = {"noseSneer": 0.95, "mouthUpperUp": 0.6, "browDown": 0.6, "mouthFrown": 0.4, "cheekSquint": 0.5}

SCRIPTS: dict[str, tuple[Move, ...]] = {
    "EXP-1-head": _heads(
        (40, 0, 0),
        (-40, 0, 0),
        (0, 0, 0),
        (0, 20, 0),
        (0, -20, 0),
        (0, 0, 0),
        (0, 0, 15),
        (0, 0, -15),
        (0, 0, 0),
        (28, 10, 0),
        (0, 18, 0),
        (-28, 10, 0),
        (-28, -12, 0),
        (0, -18, 0),
        (28, -12, 0),
        (0, 0, 0),
    ),
    "EXP-2-eyes": (
        *(Move(gaze=g) for g in ((25, 0), (-25, 0), (0, 18), (0, -20), (20, 14), (-20, 14), (-20, -16), (20, -16))),
        *_faces(
            {"eyeBlink": 1.0},
            {"eyeWide": 1.0, "browInnerUp": 0.3},
            {"eyeSquint": 1.0},
            {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.4},
            {"eyeBlinkRight": 1.0, "cheekSquintRight": 0.4},
            {"browInnerUp": 0.8, "browOuterUp": 0.8},
            {"browDown": 0.9},
        ),
        REST,
    ),
    "EXP-3-cheeks+nose": _faces(
        {"cheekPuff": 0.9, "mouthPress": 0.3},
        {},
        {"cheekSquint": 0.9},
        {"cheekSquintLeft": 0.9, "mouthSmileLeft": 0.5},
        {"cheekSquintRight": 0.9, "mouthSmileRight": 0.5},
        {},
        {"noseSneer": 0.95},
        {"noseSneerLeft": 0.9},
        {"noseSneerRight": 0.9},
        {},
    ),
    "EXP-4-lips": _faces(
        {"mouthPucker": 0.9},
        {"mouthFunnel": 0.8, "jawOpen": 0.1},
        {"mouthRollLower": 0.7, "mouthRollUpper": 0.6},
        {"mouthPress": 0.8},
        {},
        {"mouthShrugLower": 0.7, "mouthShrugUpper": 0.5},
        {"mouthUpperUp": 0.8},
        {"mouthLowerDown": 0.8},
        {"mouthLeft": 0.8},
        {"mouthRight": 0.8},
        {},
    ),
    "EXP-5-mouth": _faces(
        _SMILE,
        {"mouthSmile": 0.8, "jawOpen": 0.25, "mouthUpperUp": 0.3},
        {},
        {"mouthFrown": 0.9},
        {"mouthStretch": 0.9},
        {"jawOpen": 0.7},
        {"jawOpen": 0.5, "mouthFunnel": 0.6},
        {"mouthSmileLeft": 0.8, "mouthDimpleLeft": 0.5},
        {"mouthSmileRight": 0.8, "mouthDimpleRight": 0.5},
        {"mouthPucker": 0.8, "mouthLeft": 0.4},
        {"mouthPucker": 0.8, "mouthRight": 0.4},
        {},
    ),
    "EXP-6-tongue-1": _faces(
        {"jawOpen": 0.35, "tongueOut": 0.8},
        {"jawOpen": 0.1},
        {"jawOpen": 0.5, "tongueOut": 0.95, "mouthLowerDown": 0.3},
        {},
    ),
    "EXP-7-tongue-2": _faces(
        {"jawOpen": 0.4, "tongueOut": 0.8, "mouthLeft": 0.4},
        {"jawOpen": 0.4, "tongueOut": 0.8, "mouthRight": 0.4},
        {"jawOpen": 0.45, "tongueOut": 0.7, "mouthFunnel": 0.4},
        {},
    ),
    "EXP-8-jaw-1": _faces(
        {"jawOpen": 0.8},
        {"jawOpen": 0.2},
        {"jawOpen": 0.9, "mouthStretch": 0.3},
        {},
        {"jawForward": 0.9},
        {},
    ),
    "EXP-9-jaw-2": _faces(
        {"jawLeft": 0.9},
        {"jawRight": 0.9},
        {"jawLeft": 0.8, "jawOpen": 0.3},
        {"jawRight": 0.8, "jawOpen": 0.3},
        {"jawForward": 0.7, "jawOpen": 0.15},
        {},
    ),
    "EMO-1-shout+laugh": _faces(
        _SHOUT, {**_SHOUT, "jawOpen": 0.6}, {}, _LAUGH, {**_LAUGH, "jawOpen": 0.25}, _LAUGH, {}
    ),
    "EMO-2-surprise+fear": _faces(
        _SURPRISE, {}, {**_SURPRISE, "jawOpen": 0.25}, {}, _FEAR, {**_FEAR, "jawOpen": 0.35}, {}
    ),
    "EMO-3-angry+sad": _faces(
        _ANGRY, {**_ANGRY, "jawOpen": 0.2, "mouthUpperUp": 0.4}, {}, _SAD, {**_SAD, "mouthFrown": 0.6}, {}
    ),
    "EMO-4-disgust+happy": _faces(_DISGUST, {**_DISGUST, "noseSneer": 0.6}, {}, _SMILE, _LAUGH, _SMILE, {}),
}
"""Key poses by sequence; a sequence longer than one round goes through them again with other amplitudes."""

SENTENCES = (
    "SEN-01-cramp_small_danger",
    "SEN-02-same_phrase_thirty_times",
    "SEN-03-pluck_bright_rose",
    "SEN-04-two_plus_seven",
    "SEN-05-glow_eyes_sweet_girl",
    "SEN-06-problems_wise_chief",
    "SEN-07-fond_note_friend",
    "SEN-08-clothes_and_lodging",
    "SEN-09-frown_events_bad",
    "SEN-10-port_strong_smokey",
)

_MOUTHS: tuple[tuple[str, dict[str, float]], ...] = (
    ("a", {"jawOpen": 0.42, "mouthLowerDown": 0.25, "mouthUpperUp": 0.1}),
    ("eiy", {"jawOpen": 0.18, "mouthSmile": 0.3, "mouthStretch": 0.25, "mouthLowerDown": 0.2}),
    ("o", {"jawOpen": 0.32, "mouthFunnel": 0.55, "mouthPucker": 0.2}),
    ("uw", {"jawOpen": 0.12, "mouthPucker": 0.65, "mouthFunnel": 0.3}),
    ("mbp", {"mouthPress": 0.35, "mouthRollLower": 0.25, "mouthRollUpper": 0.15}),
    ("fv", {"jawOpen": 0.08, "mouthRollLower": 0.45, "mouthUpperUp": 0.3}),
    ("lndt", {"jawOpen": 0.16, "mouthLowerDown": 0.2, "mouthUpperUp": 0.1}),
    ("szxj", {"jawOpen": 0.07, "mouthStretch": 0.35, "mouthLowerDown": 0.3}),
    ("rchgkq", {"jawOpen": 0.14, "mouthFunnel": 0.35, "mouthShrugUpper": 0.2}),
)


def spelled(sentence: str) -> tuple[Move, ...]:
    """A mouth shape for each letter of a sequence's words, and rest between words.

    Letters, not phonemes: the mouth moves as in speech, it does not say the words.
    """
    by_letter = {letter: shape for letters, shape in _MOUTHS for letter in letters}
    words = sentence.split("-", 2)[2]
    return tuple(Move(by_letter[one]) if one in by_letter else REST for one in f"{words}_")
