"""How the hair of an OpenHeads head looks: a style of plain numbers and names, and the drawing of one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avatarbench.errors import DataError

STYLES = (
    "bald",
    "buzz",
    "short",
    "swept-back",
    "side-parting",
    "fringe",
    "curly",
    "afro",
    "bob",
    "long",
    "long-wavy",
    "ponytail",
    "bun",
)
BEARDS = ("none", "stubble", "moustache", "goatee", "full")


class Traits(Protocol):
    """What hair depends on: ``gender`` 0 male to 1 female, ``age`` 0 newborn to 1 old (2/3 is a young adult), and
    weights of ancestry, not all zero; Anny's phenotypes of the same names."""

    @property
    def gender(self) -> float: ...
    @property
    def age(self) -> float: ...
    @property
    def african(self) -> float: ...
    @property
    def asian(self) -> float: ...
    @property
    def caucasian(self) -> float: ...


@dataclass(frozen=True)
class HairStyle:
    """Hair, brows, lashes and beard; JSON-able.

    ``style`` one of :data:`STYLES`; ``melanin`` 0 white to 1 black and ``redness`` 0 to 1 (see :func:`reflectance`);
    ``grey`` the share of strands without pigment; ``length`` in metres on a head of average size; ``curl`` 0 straight
    to 1 coiled; ``density``, ``clumping``, ``volume``, ``recession`` (hairline and crown) in [0, 1]; ``parting`` in
    [-1, 1], the side of the parting, positive to the subject's left. ``brow_*``: thickness and height relative to the
    average, arch and melanin in [0, 1]; ``lashes`` length relative to the average; ``beard`` one of :data:`BEARDS`,
    ``beard_length`` metres, ``beard_melanin`` in [0, 1].
    """

    style: str
    melanin: float
    redness: float
    grey: float
    length: float
    curl: float
    density: float
    clumping: float
    volume: float
    recession: float
    parting: float
    brow_thickness: float
    brow_arch: float
    brow_height: float
    brow_melanin: float
    lashes: float
    beard: str
    beard_length: float
    beard_melanin: float

    def __post_init__(self) -> None:
        for name, known in (("style", STYLES), ("beard", BEARDS)):
            if getattr(self, name) not in known:
                raise DataError(f"a hair's '{name}' is {getattr(self, name)!r}; known: {', '.join(known)}.")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("style", "beard") and not np.isfinite(value):
                raise DataError(f"a hair's '{field.name}' is {value!r}, not a finite number.")

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> HairStyle:
        """The style of :meth:`to_json`'s values. Raises DataError for missing, unknown or impossible ones."""
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            odd = ", ".join(sorted(set(values) ^ names))
            raise DataError(f"hair described by {json.dumps(values)[:80]} misses or does not know: {odd}.")
        try:
            numbers = {k: float(v) for k, v in values.items() if k not in ("style", "beard")}
            return cls(style=values["style"], beard=values["beard"], **numbers)
        except (TypeError, ValueError) as error:
            raise DataError(f"hair described by {json.dumps(values)[:80]} cannot be read: {error}.") from error


_TONES = np.array(  # melanin, then linear RGB as hair shows it in daylight
    [
        [0.00, 0.600, 0.540, 0.450],
        [0.25, 0.420, 0.285, 0.145],
        [0.45, 0.215, 0.125, 0.060],
        [0.62, 0.100, 0.052, 0.025],
        [0.80, 0.036, 0.019, 0.010],
        [1.00, 0.011, 0.008, 0.006],
    ]
)


def reflectance(melanin: float, redness: float = 0.3) -> NDArray[np.float64]:
    """(3,) linear RGB albedo of hair. ``melanin`` in [0, 1]: 0 white, 0.25 blond, 0.45 dark blond, 0.62 brown, 0.8
    dark brown, 1 black; ``redness`` in [0, 1]: 0 ashen, 0.3 usual, 0.9 ginger.

    Between tones chosen by eye the logarithm is linear, as absorption is in the amount of pigment. (Albedo computed
    from the measured absorption of melanin, for whole hair of a diffuse material, came out greenish.)
    """
    tone = np.array([np.interp(melanin, _TONES[:, 0], np.log(_TONES[:, k])) for k in (1, 2, 3)])
    return np.exp(tone + (redness - 0.3) * np.array([0.5, -0.35, -1.0]))


_STYLE_WEIGHTS = {  # men, women, coiled hair (instead of either)
    "bald": (0.08, 0.01, 0.10),
    "buzz": (0.12, 0.02, 0.22),
    "short": (0.24, 0.05, 0.08),
    "swept-back": (0.12, 0.03, 0.02),
    "side-parting": (0.18, 0.05, 0.03),
    "fringe": (0.08, 0.08, 0.0),
    "curly": (0.07, 0.10, 0.17),
    "afro": (0.01, 0.01, 0.22),
    "bob": (0.01, 0.17, 0.02),
    "long": (0.03, 0.19, 0.03),
    "long-wavy": (0.02, 0.13, 0.03),
    "ponytail": (0.02, 0.11, 0.04),
    "bun": (0.02, 0.05, 0.04),
}

_LENGTHS = {  # metres, the shortest and the longest drawn
    "bald": (0.0, 0.0),
    "buzz": (0.004, 0.009),
    "short": (0.025, 0.05),
    "swept-back": (0.05, 0.085),
    "side-parting": (0.045, 0.08),
    "fringe": (0.05, 0.08),
    "curly": (0.06, 0.14),
    "afro": (0.03, 0.08),
    "bob": (0.17, 0.23),
    "long": (0.26, 0.38),
    "long-wavy": (0.25, 0.36),
    "ponytail": (0.28, 0.42),
    "bun": (0.2, 0.2),
}


def draw_hair(rng: np.random.Generator, traits: Traits) -> HairStyle:
    """A plausible hair for a person, from ``rng`` alone; the numbers are rounded to six decimals.

    Darkness and curl follow ancestry, grey and a receding hairline age and gender; every style and beard that
    :data:`STYLES` and :data:`BEARDS` name can be drawn. The number of draws does not depend on what is drawn.
    """
    u = rng.random(24)
    normal = rng.standard_normal(6)
    weights = np.array([traits.african, traits.asian, traits.caucasian], float)
    african, asian, caucasian = weights / weights.sum()
    male = 1 - float(np.clip(traits.gender, 0, 1))
    years = float(np.clip((traits.age - 0.6) / 0.4, 0, 1))  # 0 a young adult, 1 old

    coiled = african > 0.25 + 0.5 * u[0]
    table = np.array(list(_STYLE_WEIGHTS.values()))
    chance = table[:, 0] * male + table[:, 1] * (1 - male)
    if coiled:
        chance = 0.25 * chance + table[:, 2]
    chance[0] *= 0.5 + 2.5 * years * male
    style = STYLES[int(np.searchsorted(np.cumsum(chance / chance.sum()), u[1]).clip(0, len(STYLES) - 1))]

    light = 0.18 + 0.75 * u[2] ** 0.7
    melanin = african * (0.93 + 0.07 * u[3]) + asian * (0.88 + 0.12 * u[3]) + caucasian * light
    redness = 0.15 + 0.25 * u[4] + (0.6 if caucasian > 0.5 and u[5] < 0.08 else 0.0)
    grey = np.clip((years - 0.25 - 0.35 * u[6]) * 2.0, 0, 1) * (0.35 + 0.65 * u[7])
    low, high = _LENGTHS[style]
    natural = african * 0.9 + asian * 0.05 + caucasian * 0.3 * u[8]
    curl = {"curly": 0.55 + 0.4 * u[9], "afro": 0.9 + 0.1 * u[9], "long-wavy": 0.25 + 0.25 * u[9]}.get(
        style, min(natural, 0.35) + 0.05 * u[9]
    )
    recession = male * np.clip(0.15 + 0.75 * years + 0.22 * normal[0], 0, 1) * (0.25 + 0.75 * u[10])
    beard_chance = np.array([0.46, 0.22, 0.09, 0.1, 0.13]) if male > 0.6 else np.array([1.0, 0, 0, 0, 0])
    beard = BEARDS[int(np.searchsorted(np.cumsum(beard_chance), u[11]).clip(0, 4))]
    beard_length = {"none": 0.0, "stubble": 0.002 + 0.002 * u[12], "moustache": 0.007 + 0.007 * u[12]}.get(
        beard, 0.007 + 0.028 * u[12] ** 2
    )
    numbers = {
        "melanin": melanin,
        "redness": redness,
        "grey": grey,
        "length": low + (high - low) * u[13],
        "curl": curl,
        "density": 1 - (0.35 * years * u[14] + 0.1 * u[15]),
        "clumping": 0.25 + 0.6 * u[16],
        "volume": u[17],
        "recession": recession,
        "parting": (1 if u[18] < 0.6 else -1) * (0.3 + 0.5 * u[19]) if u[20] > 0.25 else 0.1 * normal[1],
        "brow_thickness": np.clip(0.8 + 0.4 * male + 0.18 * normal[2], 0.45, 1.6),
        "brow_arch": np.clip(0.35 + 0.35 * (1 - male) + 0.15 * normal[3], 0, 1),
        "brow_height": np.clip(1 + 0.12 * normal[4], 0.75, 1.3),
        "brow_melanin": np.clip(melanin + 0.08 + 0.06 * normal[5], 0.35, 1),
        "lashes": (0.75 + 0.2 * u[21]) * male + (0.95 + 0.4 * u[21]) * (1 - male),
        "beard_length": beard_length,
        "beard_melanin": np.clip(melanin - 0.06 + 0.1 * u[22], 0.15, 1),
    }
    return HairStyle(style=style, beard=beard, **{k: round(float(v), 6) for k, v in numbers.items()})
