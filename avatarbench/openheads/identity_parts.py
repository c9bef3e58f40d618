"""What an OpenHeads identity consists of: plain frozen numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skin:
    """``melanin`` from 0 (palest) to about 2 (darkest) and ``blood`` about 1: optical densities; the others are
    strengths, most in [0, 1]. ``lipstick``: linear RGB, with ``makeup`` its strength, zero for most."""

    melanin: float
    blood: float
    warmth: float
    flush: float
    mottle: float
    freckles: float
    moles: float
    age: float
    eye_circles: float
    shine: float
    lips_melanin: float
    lips_blood: float
    makeup: float
    lipstick: tuple[float, float, float]


@dataclass(frozen=True)
class Eyes:
    """``iris`` and ``inner`` (around the pupil): linear RGB; ``limbus``, ``veins`` and ``yellow`` in [0, 1]; ``pupil``
    and ``size`` (of the iris): radii over the eyeball's."""

    iris: tuple[float, float, float]
    inner: tuple[float, float, float]
    limbus: float
    pupil: float
    size: float
    veins: float
    yellow: float


@dataclass(frozen=True)
class Mouth:
    """``shade`` of the teeth from white (0) to yellow (1); ``irregular`` in [0, 1]; ``gap``: of the front teeth."""

    shade: float
    irregular: float
    gap: float


@dataclass(frozen=True)
class Clothes:
    """``colour``: linear RGB; ``neckline`` "crew", "scoop" or "v"; ``depth`` in [0, 1]: how low the neckline lies."""

    colour: tuple[float, float, float]
    neckline: str
    depth: float


@dataclass(frozen=True)
class Light:
    """A soft light at infinity. ``azimuth`` degrees from the front to the subject's left, ``elevation`` degrees,
    ``size`` its radius in degrees, ``power`` its irradiance, ``colour`` linear RGB."""

    azimuth: float
    elevation: float
    size: float
    power: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Lighting:
    """``sky`` and ``ground``: radiance of the surroundings, linear RGB; ``lights``: key, fill and rim."""

    sky: tuple[float, float, float]
    ground: tuple[float, float, float]
    lights: tuple[Light, ...]


@dataclass(frozen=True)
class Traits:
    """The phenotypes that looks depend on, as Anny has them; the three ancestries are weights."""

    gender: float
    age: float
    african: float
    asian: float
    caucasian: float
