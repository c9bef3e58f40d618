"""Motion of OpenHeads: expression, head and eyes over time, recorded and scripted, the same for the same seed.

Angles are degrees: yaw is positive to the subject's left, pitch downwards, roll towards the left shoulder; the head
turns by yaw after pitch after roll about the world's z, x and y.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import UsageError
from avatarbench.openheads import passages
from avatarbench.openheads.moves import SCRIPTS, SENTENCES
from avatarbench.openheads.names import EXPRESSIONS, INDEX, sides
from avatarbench.openheads.passages import Pace, Passage
from avatarbench.openheads.state import HeadState
from avatarbench.openheads.tracks import Array, Draw, sway, united

NAMES: tuple[str, ...] = (*SCRIPTS, *SENTENCES, "FREE", "RECORDED", "PORTRAIT")
"""Every sequence: NeRSemble's names with NeRSemble's kind of content, and three of ours. ``FREE`` mixes all
sources, ``RECORDED`` is the driving clip alone, ``PORTRAIT`` a source picture's nearly neutral face: expression and
turn stay, and the head sways by millimetres."""

JOINT_SHARES = {1: 0.15, 2: 0.20, 3: 0.25, 4: 0.40}
"""The share of the head's turn that neck01, neck02, neck03 and head take, by index into ``JOINTS``."""

_ALIVE = {"browInnerUp": 0.05, "mouthSmile": 0.06, "mouthPress": 0.05, "browOuterUp": 0.03}
_SWAY_DEGREES = (1.2, 0.8, 0.6)
_SWAY_METRES = (0.004, 0.002, 0.002)
_JOINTS = 8


def sequence(name: str, seed: int, index: int, frames: int, fps: float = 25.0, split: str = "train") -> list[HeadState]:
    """The first ``frames`` states of sequence ``name`` as person ``index`` of a seed and split performs it.

    Numbers are rounded to 6 decimals. More frames begin with the same ones. Raises UsageError for a name not in
    :data:`NAMES`.
    """
    if name not in NAMES:
        raise UsageError(f"OpenHeads has no sequence '{name}'; it has {', '.join(NAMES)}.")
    times = np.arange(frames) / fps
    person = Draw(seed, "motion", split, index)
    found = _passage(name, times, _pace(person.child("pace")), person.child(name))
    expression = found.expression * _gains(person.child("gains"))
    still = name == "PORTRAIT"
    swaying = sway(times, person.child(name, "sway"), 6 + len(_ALIVE))
    expression = expression if still else united(expression, _alive(swaying[:, 6:]))
    angles = found.angles + swaying[:, :3] * (0 if still else 1) * np.array(_SWAY_DEGREES)
    translation = swaying[:, 3:6] * np.array(_SWAY_METRES)
    return [
        HeadState(*(np.round(part, 6).astype(np.float32) for part in state))
        for state in zip(expression, joints(angles), translation, strict=True)
    ]


def joints(angles: Array) -> Array:
    """(T, 8, 3) axis-angle radians of the rig's joints for ``angles`` (T, 3) degrees yaw, pitch, roll.

    The neck and the head turn about one axis, each by its share, so that together they turn by exactly the whole.
    """
    from scipy.spatial.transform import Rotation

    found = np.zeros((len(angles), _JOINTS, 3))
    if len(angles):
        whole = Rotation.from_euler("ZXY", angles, degrees=True).as_rotvec()
        for joint, share in JOINT_SHARES.items():
            found[:, joint] = share * whole
    return found


def head_angles(state: HeadState) -> NDArray[np.float64]:
    """(3,) degrees yaw, pitch, roll of the head in the world."""
    from scipy.spatial.transform import Rotation

    turned = Rotation.identity()
    for joint in (0, *JOINT_SHARES):
        turned = turned * Rotation.from_rotvec(state.joints[joint].astype(np.float64))
    return np.asarray(turned.as_euler("ZXY", degrees=True), np.float64)


def digest(states: Sequence[HeadState]) -> str:
    """sha256 over every number of the states, in millionths."""
    h = hashlib.sha256(str(len(states)).encode())
    for state in states:
        for part in (state.expression, state.joints, state.translation):
            h.update(np.rint(part.astype(np.float64) * 1e6).astype("<i8").tobytes())
    return h.hexdigest()


def _passage(name: str, times: Array, pace: Pace, draw: Draw) -> Passage:
    if name == "FREE":
        return passages.free(times, pace, draw)
    if name == "RECORDED":
        return passages.joined(times, draw, passages.recorded, (8.0, 14.0))
    if name == "PORTRAIT":
        return passages.portrait(times, draw)
    if name in SENTENCES:
        return passages.spoken(times, name, pace, draw)
    return passages.scripted(times, SCRIPTS[name], pace, draw)


def _pace(draw: Draw) -> Pace:
    return Pace(tempo=draw.between(0.85, 1.2), rest=draw.between(2.5, 5.0))


def _gains(draw: Draw) -> Array:
    """(52,): a person's own strength of every action; eyes close and turn all the way."""
    gains = np.array([draw.between(0.78, 1.0) for _ in EXPRESSIONS])
    for column, name in enumerate(EXPRESSIONS):
        if name.startswith(("eyeBlink", "eyeLook")):
            gains[column] = 1.0
    return gains


def _alive(waves: Array) -> Array:
    """(T, 52): a face at rest is never quite still."""
    found = np.zeros((len(waves), len(EXPRESSIONS)))
    for column, (name, most) in enumerate(_ALIVE.items()):
        for action in sides(name):
            found[:, INDEX[action]] = most * (1 + waves[:, column]) / 2
    return found
