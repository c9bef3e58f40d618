"""Who an OpenHeads head is: every number that its looks depend on, drawn from a seed and an index."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from avatarbench.errors import DataError, UsageError
from avatarbench.openheads.hair_style import HairStyle, draw_hair
from avatarbench.openheads.identity_looks import draw_clothes, draw_eyes, draw_lighting, draw_mouth, draw_skin
from avatarbench.openheads.identity_parts import Clothes, Eyes, Light, Lighting, Mouth, Skin, Traits
from avatarbench.openheads.identity_shape import draw_local_changes, draw_phenotypes

VERSION = 1
"""Part of every stream: a change of what is drawn gets a new number."""

SPLITS = ("train", "test")


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
            parts["lighting"] = Lighting(tuple(lighting["sky"]), tuple(lighting["ground"]), lights)
            parts["hair"] = HairStyle.from_json(values["hair"])
        except (KeyError, TypeError) as error:
            raise DataError(f"an OpenHeads identity cannot be read ({error}): {json.dumps(values)[:80]}...") from error
        return cls(**parts)


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


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
    traits = Traits(**{field.name: phenotypes[field.name] for field in fields(Traits)})
    skin = draw_skin(stream(2), traits)
    return Identity(
        split=split,
        seed=seed,
        index=index,
        noise=int(stream(8).integers(2**31)),
        phenotypes=phenotypes,
        local_changes=draw_local_changes(stream(1), phenotypes),
        skin=skin,
        eyes=draw_eyes(stream(3), traits),
        mouth=draw_mouth(stream(4), traits),
        clothes=draw_clothes(stream(5)),
        lighting=draw_lighting(stream(6)),
        hair=draw_hair(stream(7), traits),
    )
