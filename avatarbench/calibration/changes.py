"""The controlled changes: of the head, of the face, of the pixels; each with its levels and its unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from avatarbench.errors import UsageError
from avatarbench.openheads.names import EXPRESSIONS, INDEX, sides
from avatarbench.openheads.sequences import joints
from avatarbench.openheads.state import HeadState
from avatarbench.registry import suggest

Group = Literal["pose", "expression", "image"]


@dataclass(frozen=True)
class Kind:
    """One kind of change. ``levels`` rise with the change, in ``unit``; zero, no change, is not among them.

    ``group``: pose and expression are rendered, image is done to a rendered frame.
    """

    id: str
    title: str
    group: Group
    unit: str
    levels: tuple[float, ...]


DEGREES = (1.0, 2.0, 5.0, 10.0)
STEPS = (0.1, 0.25, 0.5, 1.0)
QUALITIES = (95, 75, 50, 25)

KINDS: tuple[Kind, ...] = (
    Kind("yaw", "yaw of the head", "pose", "deg", DEGREES),
    Kind("pitch", "pitch of the head", "pose", "deg", DEGREES),
    Kind("roll", "roll of the head", "pose", "deg", DEGREES),
    Kind("jaw", "jawOpen", "expression", "of the action", STEPS),
    Kind("smile", "mouthSmile, both sides", "expression", "of the action", STEPS),
    Kind("blink", "eyeBlink, both sides", "expression", "of the action", STEPS),
    Kind("blur", "Gaussian blur, sigma", "image", "px", (0.5, 1.0, 2.0, 4.0)),
    Kind("jpeg", "JPEG, 100 - quality", "image", "quality", tuple(100.0 - q for q in QUALITIES)),
    Kind("shift", "shift sideways", "image", "px", (0.5, 1.0, 2.0, 4.0)),
)
"""In the order of tables and plots: three of a group."""


def chosen(names: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of these names in our order, all for none. Raises UsageError for a name that is no kind's."""
    known = [kind.id for kind in KINDS]
    for name in names:
        if name not in known:
            raise UsageError(f"'{name}' is not a kind of change{suggest(name, known)}")
    return tuple(kind for kind in KINDS if not names or kind.id in names)


ACTIONS = {"jaw": "jawOpen", "smile": "mouthSmile", "blink": "eyeBlink"}
_AXES = ("yaw", "pitch", "roll")


@dataclass(frozen=True)
class Base:
    """What a head does before it is changed: ``angles`` yaw, pitch, roll in degrees, and actions by name, none of
    which is one that is changed."""

    name: str
    angles: tuple[float, float, float] = (0.0, 0.0, 0.0)
    actions: tuple[tuple[str, float], ...] = ()


BASES: tuple[Base, ...] = (
    Base("frontal"),
    Base("turned", (15.0, 5.0, 0.0), (("browInnerUp", 0.4), ("browOuterUp", 0.2))),
)
"""Roll is zero in each, so that a level of yaw, pitch or roll is the angle of the one rotation that separates the two
heads: yaw is the outermost of the three and roll the innermost, pitch has nothing inside it."""


def state(base: Base, kind: str | None = None, amount: float = 0.0) -> HeadState:
    """The base, changed by ``amount`` of a pose or expression ``kind``: signed degrees, or a share of the action.

    The head turns by the joints of the neck and the head together. Raises KeyError for a kind done to pixels.
    """
    angles = np.array(base.angles, np.float64)
    expression = np.zeros(len(EXPRESSIONS), np.float32)
    for name, value in base.actions:
        expression[[INDEX[one] for one in sides(name)]] = value
    if kind in _AXES:
        angles[_AXES.index(kind)] += amount
    elif kind is not None:
        expression[[INDEX[one] for one in sides(ACTIONS[kind])]] = amount
    turned = joints(angles[None])[0].astype(np.float32)
    return HeadState(expression, turned, np.zeros(3, np.float32))
