"""Skin of an OpenHeads head: colour and gloss of every vertex, from melanin, blood and patterns in space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avatarbench.openheads.identity import Identity
from avatarbench.openheads.skin_noise import fractal, smoothstep, spots, value_noise

Array = NDArray[np.float64]

_PALE = np.array([0.87, 0.68, 0.55])  # skin without melanin and without blood, linear RGB
_MELANIN = np.array([0.92, 1.28, 1.52])  # optical density of the pigments a unit
_BLOOD = np.array([0.04, 0.30, 0.24])
_WARMTH = np.array([-0.02, 0.02, 0.32])  # carotene: takes blue

EYE = np.array([0.031, -0.088, 0.040])  # landmarks of the canonical head, metres; x > 0, mirrored
NOSE = np.array([0.0, -0.127, 0.004])
MOUTH = np.array([0.0, -0.117, -0.031])
CHIN = np.array([0.0, -0.112, -0.060])
CHEEK = np.array([0.045, -0.090, -0.002])


@dataclass(frozen=True)
class Canvas:
    """What the skin is painted on: N vertices. ``points`` (N, 3): places on the canonical head, metres; the others
    (N,) in [0, 1]: where lips, eyelids, the inside of the mouth, the tongue, ears, scalp hair and a beard are."""

    points: Array
    lips: Array
    lids: Array
    mouth: Array
    tongue: Array
    ears: Array
    scalp: Array
    beard: Array


@dataclass(frozen=True)
class Paint:
    """``colour`` (N, 3) linear RGB albedo, ``roughness`` (N,), ``height`` (N,) metres of fine relief."""

    colour: NDArray[np.float32]
    roughness: NDArray[np.float32]
    height: NDArray[np.float32]


def paint(identity: Identity, canvas: Canvas) -> Paint:
    """The skin of one person, inside of the mouth included."""
    skin, p, seed = identity.skin, canvas.points, identity.noise
    side = np.concatenate([np.abs(p[:, :1]), p[:, 1:]], 1)

    def near(centre: Array, radius: tuple[float, float, float] | float) -> Array:
        return np.exp(-(((side - centre) / radius) ** 2).sum(1))

    broad = fractal(p, 0.035, seed, 3)
    fine = fractal(p, 0.009, seed + 1, 3)
    flush = near(CHEEK, (0.026, 0.05, 0.022)) + 0.9 * near(NOSE, (0.016, 0.02, 0.014)) + 0.7 * canvas.ears
    flush += 0.35 * near(CHIN, 0.02) + 0.25 * near(np.array([0, -0.105, 0.07]), (0.03, 0.04, 0.02))
    blood = skin.blood * (1 + 0.20 * skin.mottle * broad + 0.10 * skin.mottle * fine) + skin.flush * flush
    below_eye = near(EYE + np.array([0.0, -0.006, -0.017]), (0.016, 0.03, 0.008))
    lid = canvas.lids
    blood = blood + 0.5 * skin.eye_circles * (below_eye + 0.7 * lid)

    melanin = skin.melanin * (1 + 0.10 * skin.mottle * fractal(p, 0.05, seed + 2, 3) + 0.05 * fine)
    melanin += (0.05 + 0.10 * skin.melanin) * skin.eye_circles * (below_eye + lid)
    melanin += 0.06 * skin.melanin * near(MOUTH, (0.04, 0.05, 0.025))
    melanin *= 1 - 0.12 * smoothstep(0.0, -0.05, p[:, 1])  # the front of the face is a little lighter than the neck
    sun = near(NOSE, (0.05, 0.06, 0.028)) + 0.4 * near(np.array([0, -0.1, 0.07]), (0.05, 0.06, 0.03))
    melanin += 0.55 * skin.freckles * np.clip(sun, 0, 1) * spots(p, 0.0055, seed + 3, 0.6, (0.0007, 0.0019))
    melanin += 0.8 * skin.moles * spots(p, 0.034, seed + 4, 0.18, (0.0009, 0.0019))
    melanin += 0.10 * skin.age * smoothstep(0.2, 0.6, value_noise(p, 0.012, seed + 5)) * (1 - canvas.lips)
    hidden = canvas.scalp, canvas.beard
    colour = _pigment(melanin, blood, skin.warmth)
    colour = _shadow(identity, colour, *hidden)

    # Lips, with the line between them, and the mouth's inside.
    lips_blood = 2.9 * skin.lips_blood * (1 + 0.12 * fine)
    lips = _pigment(skin.lips_melanin * 0.95 + 0.12 + 0 * lips_blood, lips_blood, 0.0)
    lips = lips * (1 - skin.makeup) + skin.makeup * np.asarray(skin.lipstick)
    edge = np.clip(canvas.lips * (1.0 + 0.2 * fine), 0, 1)[:, None]
    edge = edge * (0.58 + 0.27 * max(identity.gender, skin.makeup))  # men's lips stand out less
    colour = colour * (1 - edge) + edge * lips
    inside = canvas.mouth[:, None]
    depth = smoothstep(-0.104, -0.075, p[:, 1])[:, None]
    colour = colour * (1 - inside) + inside * (np.array([0.36, 0.075, 0.07]) * (1 - 0.8 * depth))
    tongue = canvas.tongue[:, None]
    colour = colour * (1 - tongue) + tongue * np.array([0.42, 0.13, 0.12]) * (1 + 0.15 * fine[:, None])

    oily = near(NOSE, (0.02, 0.03, 0.03)) + 0.6 * near(np.array([0, -0.11, 0.075]), (0.035, 0.04, 0.025))
    rough = 0.52 - 0.10 * skin.shine - 0.08 * oily + 0.05 * fine
    wet = np.clip(0.45 * canvas.lips + canvas.mouth + canvas.tongue, 0, 1)
    rough = rough * (1 - wet) + 0.30 * wet
    height = 0.00006 * value_noise(p, 0.0045, seed + 6) + 0.00002 * value_noise(p, 0.0025, seed + 7)
    creases = fractal(p * [1.0, 1.0, 3.5], 0.010, seed + 8, 2)
    forehead = near(np.array([0, -0.105, 0.085]), (0.05, 0.05, 0.03))
    height = height * (1 + 0.8 * skin.age) + 0.00045 * skin.age * forehead * creases
    lines = fractal(p * [3.0, 1.0, 1.0], 0.006, seed + 9, 2)
    height = height * (1 - canvas.lips) + 0.00018 * canvas.lips * lines
    return Paint(
        np.clip(colour, 0.004, 0.93).astype(np.float32),
        np.clip(rough, 0.22, 0.75).astype(np.float32),
        height.astype(np.float32),
    )


def _pigment(melanin: Array, blood: Array, warmth: float) -> Array:
    density = melanin[:, None] * _MELANIN + blood[:, None] * _BLOOD + warmth * _WARMTH
    return _PALE * np.exp(-density)


def _shadow(identity: Identity, colour: Array, scalp: Array, beard: Array) -> Array:
    """Skin under hair and shaved hair: darker, and in the hair's hue."""
    from avatarbench.openheads.hair_style import reflectance

    style = identity.hair
    cover = {"bald": 0.12, "buzz": 0.55}.get(style.style, 0.8)
    hair = reflectance(style.melanin, style.redness)
    weight = (cover * scalp)[:, None]
    colour = colour * (1 - weight) + weight * np.minimum(hair, colour)
    shaved = {"none": 0.22, "stubble": 0.42}.get(style.beard, 0.35) * max(0.0, 1 - 1.8 * identity.gender)
    weight = (shaved * beard)[:, None]
    return colour * (1 - weight) + weight * np.minimum(0.3 * colour + 0.5 * reflectance(style.beard_melanin), colour)
