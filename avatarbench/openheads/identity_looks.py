"""Skin, eyes, teeth, clothes and light of an identity, drawn; numbers are rounded to six decimals."""

from __future__ import annotations

from typing import Any

import numpy as np

from avatarbench.openheads.identity_parts import Clothes, Eyes, Light, Lighting, Mouth, Skin, Traits


def _r(value: float) -> float:
    return round(float(value), 6)


def _rgb(values: Any) -> tuple[float, float, float]:
    red, green, blue = (_r(v) for v in values)
    return red, green, blue


def _weights(traits: Traits) -> np.ndarray[Any, np.dtype[np.float64]]:
    weights = np.array([traits.african, traits.asian, traits.caucasian])
    return weights / weights.sum()


def draw_skin(rng: np.random.Generator, traits: Traits) -> Skin:
    """Pigments follow ancestry, with a wide spread within each; marks and shadows follow age."""
    u, normal = rng.random(16), rng.standard_normal(4)
    weights = _weights(traits)
    spread = np.array([0.75 + 0.95 * u[0], 0.26 + 0.4 * u[0], 0.1 + 0.42 * u[0]])
    melanin = float(np.clip(weights @ spread, 0.06, 1.9))
    years = float(np.clip((traits.age - 2 / 3) * 3, 0, 1))
    pale = float(np.clip(1 - melanin / 0.5, 0, 1))
    lipstick = ((0.42, 0.05, 0.06), (0.45, 0.12, 0.13), (0.3, 0.04, 0.08), (0.4, 0.15, 0.1))[int(u[13] * 4)]
    return Skin(
        melanin=_r(melanin),
        blood=_r(np.clip(0.75 + 0.2 * normal[0], 0.4, 1.25)),
        warmth=_r(np.clip(0.2 * normal[1] + 0.35 * weights[1], -0.5, 0.6)),
        flush=_r(0.15 + 0.5 * u[2]),
        mottle=_r(0.35 + 0.5 * u[3] + 0.15 * years),
        freckles=_r(pale * max(0.0, u[4] - 0.55) * 2.0),
        moles=_r(u[5] ** 2),
        age=_r(years),
        eye_circles=_r(0.25 + 0.55 * u[6] + 0.2 * years),
        shine=_r(u[7]),
        lips_melanin=_r(melanin * (0.8 + 0.3 * u[8])),
        lips_blood=_r(0.75 + 0.5 * u[9]),
        makeup=_r(traits.gender * (0.4 + 0.5 * u[11]) if traits.gender > 0.5 and u[10] < 0.35 else 0.0),
        lipstick=_rgb(lipstick),
    )


_IRISES = {  # outer and inner colour, linear RGB
    "dark": ((0.030, 0.014, 0.007), (0.055, 0.026, 0.011)),
    "brown": ((0.075, 0.033, 0.012), (0.13, 0.06, 0.02)),
    "hazel": ((0.10, 0.075, 0.028), (0.18, 0.09, 0.025)),
    "green": ((0.10, 0.13, 0.06), (0.19, 0.13, 0.045)),
    "blue": ((0.085, 0.15, 0.24), (0.22, 0.24, 0.23)),
    "grey": ((0.14, 0.17, 0.19), (0.22, 0.21, 0.18)),
}


def draw_eyes(rng: np.random.Generator, traits: Traits) -> Eyes:
    """Irises by ancestry, from nearly black to blue and grey."""
    u = rng.random(8)
    african, asian, caucasian = _weights(traits)
    light = np.array([0.06, 0.26, 0.2, 0.12, 0.26, 0.1])
    chance = (african + asian) * np.array([0.66, 0.32, 0.02, 0, 0, 0]) + caucasian * light
    kind = list(_IRISES)[int(np.searchsorted(np.cumsum(chance / chance.sum()), u[0]).clip(0, 5))]
    bright = 0.8 + 0.45 * u[1]
    outer, inner = (np.array(c) * bright for c in _IRISES[kind])
    years = float(np.clip((traits.age - 2 / 3) * 3, 0, 1))
    return Eyes(
        iris=_rgb(outer),
        inner=_rgb(inner),
        limbus=_r(0.45 + 0.5 * u[2] - 0.25 * years),
        pupil=_r(0.15 + 0.07 * u[3] - 0.025 * years),
        size=_r(0.435 + 0.03 * u[4]),
        veins=_r(0.2 + 0.5 * u[5] + 0.2 * years),
        yellow=_r(0.15 + 0.3 * u[6] + 0.2 * years + 0.15 * african),
    )


def draw_mouth(rng: np.random.Generator, traits: Traits) -> Mouth:
    """Teeth yellow with age."""
    u = rng.random(3)
    years = float(np.clip((traits.age - 2 / 3) * 3, 0, 1))
    return Mouth(shade=_r(0.6 * u[0] + 0.4 * years), irregular=_r(u[1]), gap=_r(max(0.0, u[2] - 0.85) / 0.15))


def draw_clothes(rng: np.random.Generator) -> Clothes:
    """A plain colour and a neckline."""
    u = rng.random(6)
    kinds = (
        (0.02, 0.025, 0.035),  # black
        (0.65, 0.64, 0.61),  # white
        (0.02, 0.035, 0.10),  # navy
        (0.16, 0.17, 0.18),  # grey
        (0.22, 0.025, 0.03),  # red
        (0.03, 0.10, 0.06),  # green
        (0.09, 0.18, 0.34),  # blue
        (0.34, 0.24, 0.13),  # tan
        (0.20, 0.07, 0.16),  # plum
        (0.45, 0.30, 0.08),  # mustard
        (0.30, 0.14, 0.13),  # rose
        (0.04, 0.13, 0.15),  # teal
    )
    colour = np.array(kinds[int(u[0] * len(kinds))]) * (0.75 + 0.5 * u[1])
    neckline = ("crew", "crew", "scoop", "v")[int(u[2] * 4)]
    return Clothes(colour=_rgb(colour), neckline=neckline, depth=_r(u[3]))


def draw_lighting(rng: np.random.Generator) -> Lighting:
    """A key, a fill and a rim light in soft surroundings, never so one-sided that half a face is black."""
    u = rng.random(16)
    side = 1.0 if u[0] < 0.5 else -1.0
    warm = 2 * u[1] - 1  # of the key; the surroundings lean the other way
    tint = np.array([1 + 0.10 * warm, 1.0, 1 - 0.14 * warm])
    ambient = (0.20 + 0.14 * u[2]) * np.array([1 - 0.05 * warm, 1.0, 1 + 0.07 * warm])
    key = Light(
        azimuth=_r(side * (15 + 40 * u[3])),
        elevation=_r(15 + 32 * u[4]),
        size=_r(8 + 9 * u[5]),
        power=_r(1.5 + 0.7 * u[6]),
        colour=_rgb(tint),
    )
    fill = Light(
        azimuth=_r(-side * (35 + 40 * u[7])),
        elevation=_r(-5 + 30 * u[8]),
        size=_r(25 + 12 * u[9]),
        power=_r(0.30 + 0.35 * u[10]),
        colour=_rgb([1 - 0.04 * warm, 1.0, 1 + 0.06 * warm]),
    )
    rim = Light(
        azimuth=_r((-side if u[11] < 0.7 else side) * (120 + 40 * u[12])),
        elevation=_r(20 + 35 * u[13]),
        size=_r(10 + 10 * u[14]),
        power=_r(0.9 * u[15]),
        colour=(1.0, 1.0, 1.0),
    )
    return Lighting(sky=_rgb(ambient * 1.15), ground=_rgb(ambient * [0.72, 0.68, 0.63]), lights=(key, fill, rim))
