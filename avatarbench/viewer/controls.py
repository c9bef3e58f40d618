"""Which sliders drive a rig, and what pose their values mean. Nothing here knows of a web page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from avatarbench.heads.rig import Rig

Turn = Literal["pitch", "yaw", "roll"]

ACTIONS = {
    "brow": "brows",
    "eye": "eyes",
    "jaw": "jaw",
    "mouth": "mouth",
    "cheek": "cheeks and nose",
    "nose": "cheeks and nose",
    "tongue": "tongue",
}
"""The folder of an ARKit action, by how its name begins."""

TURNS: dict[str, tuple[str, dict[Turn, tuple[float, float]]]] = {
    "head": ("head", {"pitch": (-40, 40), "yaw": (-60, 60), "roll": (-40, 40)}),
    "neck": ("neck", {"pitch": (-30, 30), "yaw": (-40, 40), "roll": (-30, 30)}),
    "jaw": ("jaw", {"pitch": (-5, 30), "yaw": (-10, 10)}),
    "eye": ("eyes", {"pitch": (-30, 30), "yaw": (-40, 40)}),
}
"""A joint's folder and the degrees that it may turn, by how its name begins."""

COMPONENTS = 10
"""Of a rig whose expressions are principal components, as FLAME's, the first ones: the others hardly show."""


@dataclass(frozen=True)
class Control:
    """One slider. ``place``: a coefficient of the expression, or a joint that ``turn`` turns, in degrees."""

    folder: str
    label: str
    low: float
    high: float
    step: float
    place: int
    turn: Turn | None = None


def controls_of(rig: Rig) -> list[Control]:
    """The sliders of a rig, the head's first, labels unique; FLAME's root, with which the head turns, is the head."""
    found = [c for joint, name in enumerate(rig.joint_names) for c in _joint(joint, name, rig)]
    actions = any(name.startswith(tuple(ACTIONS)) for name in rig.expression_names)
    for place, name in enumerate(rig.expression_names if actions else rig.expression_names[:COMPONENTS]):
        if actions:
            folder = next((f for start, f in ACTIONS.items() if name.startswith(start)), "expression")
            found.append(Control(folder, name, 0, 1, 0.01, place))
        else:
            found.append(Control("expression", name, -3, 3, 0.05, place))
    order = ["head", "neck", "expression", *dict.fromkeys(ACTIONS.values())]
    return sorted(found, key=lambda c: order.index(c.folder))


def _joint(joint: int, name: str, rig: Rig) -> list[Control]:
    kind = next((k for k in TURNS if name.startswith(k)), None)
    if kind is None and name == "root" and "head" not in rig.joint_names:
        kind = "head"
    if kind is None:
        return []
    folder, ranges = TURNS[kind]
    return [Control(folder, f"{name} {turn}", *ends, 0.5, joint, turn) for turn, ends in ranges.items()]


def upward(rig: Rig) -> Literal["y", "z"]:
    """The rig's upward axis; its left is +x in either."""
    return "y" if rig.name.startswith("flame") else "z"


def pose_of(rig: Rig, values: Mapping[str, float]) -> tuple[Tensor, Tensor]:
    """``expression`` (E,) and ``joints`` (J, 3) axis-angle radians of slider values by label; what is not named rests.

    Positive pitch looks down, yaw to the person's left, roll tilts to the person's right; roll first, then pitch, then
    yaw.
    """
    up = upward(rig)
    axes = {
        "pitch": (1.0, 0.0, 0.0),
        "yaw": (0.0, 0.0, 1.0) if up == "z" else (0.0, 1.0, 0.0),
        "roll": (0.0, -1.0, 0.0) if up == "z" else (0.0, 0.0, 1.0),
    }
    expression = rig.template.new_zeros(len(rig.expression_names))
    turns: dict[int, dict[Turn, float]] = {}
    for control in controls_of(rig):
        value = float(values.get(control.label, 0))
        if control.turn is None:
            expression[control.place] = value
        elif value:
            turns.setdefault(control.place, {})[control.turn] = math.radians(value)
    joints = rig.template.new_zeros(len(rig.parents), 3)
    for joint, angles in turns.items():
        turned = Rotation.identity()
        for turn in ("yaw", "pitch", "roll"):
            turned *= Rotation.from_rotvec([angles.get(turn, 0.0) * a for a in axes[turn]])
        joints[joint] = torch.from_numpy(turned.as_rotvec()).to(joints)
    return expression, joints


PRESETS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {
        **dict.fromkeys(("mouthSmileLeft", "mouthSmileRight"), 0.9),
        **dict.fromkeys(("cheekSquintLeft", "cheekSquintRight"), 0.5),
    },
    "blink": dict.fromkeys(("eyeBlinkLeft", "eyeBlinkRight"), 1.0),
    "surprise": {
        "browInnerUp": 0.9,
        **dict.fromkeys(("browOuterUpLeft", "browOuterUpRight", "eyeWideLeft", "eyeWideRight"), 0.9),
        "jawOpen": 0.5,
    },
    "mouth open": {"jawOpen": 0.9},
}
COMPONENT_PRESETS: dict[str, dict[str, float]] = {"neutral": {}, "mouth open": {"jaw pitch": 20.0}}
"""For rigs without actions: what a principal component looks like is not known beforehand."""


def presets_of(rig: Rig) -> dict[str, dict[str, float]]:
    """Values by label of each named expression that the rig can make."""
    labels = {c.label for c in controls_of(rig)}
    table = PRESETS if "jawOpen" in labels else COMPONENT_PRESETS
    return {name: values for name, values in table.items() if values.keys() <= labels}


PERIOD = 8.0
"""Seconds until the animation repeats."""


def animation(rig: Rig, seconds: float) -> dict[str, float]:
    """Slider values at a time: the head turns slowly from side to side while the presets come and go in turn."""
    phase = seconds % PERIOD / PERIOD
    shown = [values for values in presets_of(rig).values() if values]
    part, strength = divmod(phase * len(shown), 1)
    strength = math.sin(math.pi * strength) ** 2
    values = {label: value * strength for label, value in shown[int(part) % len(shown)].items()}
    head = "head" if "head" in rig.joint_names else "root"
    return {**values, f"{head} yaw": 30 * math.sin(2 * math.pi * phase)}
