"""Who an OpenHeads head is: every number that its looks depend on, drawn from a seed and an index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from avatarbench.errors import DataError, UsageError
from avatarbench.openheads.hair_style import HairStyle, draw_hair
from avatarbench.openheads.identity_shape import draw_local_changes, draw_phenotypes

VERSION = 1
"""Part of every stream: a change of what is drawn gets a new number."""

SPLITS = ("train", "test")


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
class Identity:
    """One person and the light that they stand in. ``phenotypes`` and ``local_changes`` as ``AnnyRig.shape`` takes
    them; ``noise``: seed of every pattern on the skin, the eyes and the hair."""

    split: str
    seed: int
    index: int
    noise: int
    phenotypes: Mapping[str, float]
    local_changes: Mapping[str, float]
    skin: Skin
    eyes: Eyes
    mouth: Mouth
    clothes: Clothes
    lighting: Lighting
    hair: HairStyle

    @property
    def gender(self) -> float:
        """0 male, 1 female, as Anny has it."""
        return self.phenotypes["gender"]

    @property
    def age(self) -> float:
        """2/3 a young adult, 1 old, as Anny has it."""
        return self.phenotypes["age"]

    def to_json(self) -> dict[str, Any]:
        """Plain values that :func:`json.dumps` takes and :meth:`from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Identity:
        """The identity of :meth:`to_json`'s values. Raises DataError naming the part that cannot be read."""
        expected = {field.name for field in fields(cls)}
        if set(values) != expected:
            odd = ", ".join(sorted(set(values) ^ expected))
            raise DataError(f"an OpenHeads identity misses or does not know: {odd}.")
        parts: dict[str, Any] = dict(values)
        lighting = values["lighting"]
        try:
            for name, kind in (("skin", Skin), ("eyes", Eyes), ("mouth", Mouth), ("clothes", Clothes)):
                parts[name] = kind(**_tuples(values[name]))
            lights = tuple(Light(**_tuples(light)) for light in lighting["lights"])
            parts["lighting"] = Lighting(tuple(lighting["sky"]), tuple(lighting["ground"]), lights)  # type: ignore[arg-type]
            parts["hair"] = HairStyle.from_json(values["hair"])
        except (KeyError, TypeError) as error:
            raise DataError(f"an OpenHeads identity cannot be read ({error}): {json.dumps(values)[:80]}...") from error
        return cls(**parts)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


@dataclass(frozen=True)
class _Traits:
    gender: float
    age: float
    african: float
    asian: float
    caucasian: float


def draw(seed: int, index: int, split: str = "train") -> Identity:
    """Identity ``index`` of a seed's ``split``, "train" or "test", whose streams differ.

    Each part has its own stream, so that a change of one leaves the others; numbers are rounded to six decimals, so
    that they are the same on every machine. Raises UsageError for an unknown split or a negative number.
    """
    if split not in SPLITS:
        raise UsageError(f"'{split}' is not a split of OpenHeads; known: {', '.join(SPLITS)}.")
    if seed < 0 or index < 0:
        raise UsageError(f"seed {seed} and index {index} of an OpenHeads identity must not be negative.")

    def stream(part: int) -> np.random.Generator:
        entropy = [VERSION, SPLITS.index(split), seed, index, part]
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))

    phenotypes = draw_phenotypes(stream(0))
    traits = _Traits(**{field.name: phenotypes[field.name] for field in fields(_Traits)})
    skin = _draw_skin(stream(2), traits)
    return Identity(
        split=split,
        seed=seed,
        index=index,
        noise=int(stream(8).integers(2**31)),
        phenotypes=phenotypes,
        local_changes=draw_local_changes(stream(1), phenotypes),
        skin=skin,
        eyes=_draw_eyes(stream(3), traits),
        mouth=_draw_mouth(stream(4), traits),
        clothes=_draw_clothes(stream(5)),
        lighting=_draw_lighting(stream(6)),
        hair=draw_hair(stream(7), traits),
    )


def _r(value: float) -> float:
    return round(float(value), 6)


def _rgb(values: Any) -> tuple[float, float, float]:
    red, green, blue = (_r(v) for v in values)
    return red, green, blue


def _weights(traits: _Traits) -> np.ndarray[Any, np.dtype[np.float64]]:
    weights = np.array([traits.african, traits.asian, traits.caucasian])
    return weights / weights.sum()


def _draw_skin(rng: np.random.Generator, traits: _Traits) -> Skin:
    u, normal = rng.random(16), rng.standard_normal(4)
    weights = _weights(traits)
    spread = np.array([0.75 + 0.95 * u[0], 0.26 + 0.4 * u[0], 0.1 + 0.42 * u[0]])
    melanin = float(np.clip(weights @ spread, 0.06, 1.9))
    years = float(np.clip((traits.age - 2 / 3) * 3, 0, 1))
    pale = float(np.clip(1 - melanin / 0.5, 0, 1))
    lipstick = ((0.42, 0.05, 0.06), (0.45, 0.12, 0.13), (0.3, 0.04, 0.08), (0.4, 0.15, 0.1))[int(u[13] * 4)]
    return Skin(
        melanin=_r(melanin),
        blood=_r(np.clip(0.9 + 0.25 * normal[0], 0.45, 1.5)),
        warmth=_r(np.clip(0.2 * normal[1] + 0.35 * weights[1], -0.5, 0.6)),
        flush=_r(0.25 + 0.6 * u[2]),
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


def _draw_eyes(rng: np.random.Generator, traits: _Traits) -> Eyes:
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
        size=_r(0.475 + 0.03 * u[4]),
        veins=_r(0.2 + 0.5 * u[5] + 0.2 * years),
        yellow=_r(0.15 + 0.3 * u[6] + 0.2 * years + 0.15 * african),
    )


def _draw_mouth(rng: np.random.Generator, traits: _Traits) -> Mouth:
    u = rng.random(3)
    years = float(np.clip((traits.age - 2 / 3) * 3, 0, 1))
    return Mouth(shade=_r(0.6 * u[0] + 0.4 * years), irregular=_r(u[1]), gap=_r(max(0.0, u[2] - 0.85) / 0.15))


def _draw_clothes(rng: np.random.Generator) -> Clothes:
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


def _draw_lighting(rng: np.random.Generator) -> Lighting:
    u = rng.random(16)
    side = 1.0 if u[0] < 0.5 else -1.0
    warm = 2 * u[1] - 1  # of the key; the surroundings lean the other way
    tint = np.array([1 + 0.10 * warm, 1.0, 1 - 0.14 * warm])
    ambient = (0.20 + 0.14 * u[2]) * np.array([1 - 0.05 * warm, 1.0, 1 + 0.07 * warm])
    key = Light(
        azimuth=_r(side * (15 + 40 * u[3])),
        elevation=_r(15 + 32 * u[4]),
        size=_r(12 + 16 * u[5]),
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
