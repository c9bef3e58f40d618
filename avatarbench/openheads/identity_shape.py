"""The shape of a head: Anny's phenotypes, and small local changes of the face, drawn so that faces stay plausible."""

from __future__ import annotations

import numpy as np

_SPREADS = {  # standard deviation of a local change, in Anny's unit (1 is a caricature); * for l- and r- together
    "*-cheek-volume-incr": 0.30,
    "*-cheek-bones-incr": 0.30,
    "*-cheek-inner-incr": 0.22,
    "*-cheek-trans-up": 0.22,
    "chin-height-incr": 0.25,
    "chin-width-incr": 0.28,
    "chin-prominent-incr": 0.25,
    "chin-bones-incr": 0.25,
    "chin-jaw-drop-incr": 0.20,
    "chin-cleft-incr": 0.25,
    "chin-prognathism-incr": 0.12,
    "*-ear-lobe-incr": 0.35,
    "*-ear-scale-incr": 0.20,
    "*-ear-scale-vert-incr": 0.22,
    "*-ear-wing-incr": 0.25,
    "*-ear-rot-forward": 0.2,
    "*-ear-shape-round": 0.25,
    "eyebrows-angle-up": 0.22,
    "eyebrows-trans-up": 0.22,
    "eyebrows-trans-forward": 0.2,
    "*-eye-corner1-up": 0.22,
    "*-eye-corner2-up": 0.25,
    "*-eye-height1-incr": 0.18,
    "*-eye-height2-incr": 0.18,
    "*-eye-height3-incr": 0.18,
    "*-eye-scale-incr": 0.14,
    "*-eye-push1-out": 0.18,
    "*-eye-push2-out": 0.18,
    "*-eye-bag-incr": 0.28,
    "*-eye-trans-up": 0.14,
    "*-eye-trans-out": 0.18,
    "*-eye-eyefold-up": 0.3,
    "*-eye-eyefold-angle-up": 0.25,
    "*-eye-epicanthus-out": 0.22,
    "forehead-temple-incr": 0.3,
    "forehead-trans-forward": 0.25,
    "forehead-scale-vert-incr": 0.25,
    "forehead-nubian-incr": 0.2,
    "head-fat-incr": 0.22,
    "head-scale-horiz-incr": 0.16,
    "head-scale-vert-incr": 0.16,
    "head-scale-depth-incr": 0.14,
    "head-back-scale-depth-incr": 0.2,
    "mouth-scale-horiz-incr": 0.24,
    "mouth-trans-up": 0.18,
    "mouth-trans-forward": 0.16,
    "mouth-lowerlip-height-incr": 0.28,
    "mouth-upperlip-height-incr": 0.28,
    "mouth-lowerlip-volume-incr": 0.28,
    "mouth-upperlip-volume-incr": 0.28,
    "mouth-cupidsbow-incr": 0.3,
    "mouth-angles-up": 0.18,
    "mouth-philtrum-volume-incr": 0.25,
    "mouth-laugh-lines-out": 0.2,
    "neck-double-incr": 0.15,
    "nose-scale-vert-incr": 0.22,
    "nose-scale-horiz-incr": 0.2,
    "nose-scale-depth-incr": 0.22,
    "nose-width1-incr": 0.25,
    "nose-width2-incr": 0.25,
    "nose-width3-incr": 0.25,
    "nose-hump-incr": 0.28,
    "nose-greek-incr": 0.2,
    "nose-curve-convex": 0.25,
    "nose-point-up": 0.25,
    "nose-point-width-incr": 0.28,
    "nose-base-up": 0.22,
    "nose-flaring-incr": 0.25,
    "nose-nostrils-width-incr": 0.22,
    "nose-volume-incr": 0.25,
    "nose-trans-up": 0.12,
    "nose-septumangle-incr": 0.2,
}

_MEANS = {  # in every head: Anny's resting face is sleepy and stern, and shows little of the eyes
    "*-eye-height1-incr": 0.22,
    "*-eye-height2-incr": 0.30,
    "*-eye-height3-incr": 0.22,
    "mouth-angles-up": 0.15,
}

_LIMIT = 2.2  # standard deviations


def draw_phenotypes(rng: np.random.Generator) -> dict[str, float]:
    """Gender (0 male, 1 female), age (young adult to old), muscle, weight; weights of ancestry, which sum to one."""
    u = rng.random(8)
    female = u[0] < 0.5
    gender = (0.78 + 0.22 * u[1]) if female else 0.22 * u[1]
    age = 0.64 + 0.34 * u[2] ** 1.35
    main = int(u[3] * 3)
    share = 1 - 0.45 * u[4] ** 2.5  # most have one ancestry in the main
    other = (main + (1 if u[5] < 0.5 else 2)) % 3
    ancestry = np.zeros(3)
    ancestry[main], ancestry[other] = share, 1 - share
    values = {
        "gender": gender,
        "age": age,
        "muscle": 0.35 + 0.35 * u[6],
        "weight": 0.3 + 0.42 * u[7],
        **dict(zip(("african", "asian", "caucasian"), ancestry, strict=True)),
    }
    return {name: round(float(value), 6) for name, value in values.items()}


def draw_local_changes(rng: np.random.Generator, phenotypes: dict[str, float]) -> dict[str, float]:
    """Between 20 and 61 local changes of the head by name; left and right are alike but for a slight asymmetry."""
    names = list(_SPREADS)
    count = 20 + int(rng.random() * 21)
    chosen = set(rng.permutation(len(names))[:count].tolist())
    normal = rng.standard_normal((len(names), 3))
    normal = np.clip(normal, -_LIMIT, _LIMIT)
    changes: dict[str, float] = {}
    for k, name in enumerate(names):
        if k not in chosen and name not in _MEANS:
            continue
        value = _MEANS.get(name, 0.0) + (_SPREADS[name] * normal[k, 0] if k in chosen else 0.0)
        if not name.startswith("*"):
            changes[name] = round(float(value), 6)
            continue
        for side, own in (("l", normal[k, 1]), ("r", normal[k, 2])):
            changes[side + name[1:]] = round(float(value + 0.15 * _SPREADS[name] * own), 6)
    years = max(0.0, (phenotypes["age"] - 0.75) * 4)
    changes["head-age-incr"] = round(float(0.35 * years), 6)
    return changes
