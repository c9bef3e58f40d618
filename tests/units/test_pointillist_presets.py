"""The presets that ship: each loads, and a variant differs from what it is a variant of in what it is named for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import BaseModel

from avatarbench.fitting.config import load_preset as load_fit
from avatarbench.methods.pointillist.presets import load_preset
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.start import geometric
from avatarbench.presets import known


def changed(one: BaseModel, other: BaseModel) -> dict[str, Any]:
    """By dotted key, what ``other`` has instead."""

    def flat(value: Any, key: str = "") -> dict[str, Any]:
        if not isinstance(value, dict):
            return {key[1:]: value}
        return {k: v for name, inner in value.items() for k, v in flat(inner, f"{key}.{name}").items()}

    before, after = flat(one.model_dump()), flat(other.model_dump())
    return {key: value for key, value in after.items() if before[key] != value}


@pytest.mark.parametrize("name", known("avatarbench.configs.pointillist"))
def test_every_preset_of_stage_one_says_its_name_and_fits_with_one_that_is_there(name: str) -> None:
    preset = load_preset(name)

    assert preset.preset == name
    assert load_fit(preset.fit).points is not None or name.startswith("paper")


@pytest.mark.parametrize("whole", ["mini", "paper"])
def test_the_hourglass_is_the_plain_preset_with_another_transformer(whole: str) -> None:
    hourglass = load_preset(f"{whole}-hourglass")
    found = changed(load_preset(whole), hourglass)

    assert found.pop("transformer.start", "random") == "random"  # mini's own is for the plain transformer
    assert found == {"preset": f"{whole}-hourglass", "transformer.architecture": "hourglass"}
    assert hourglass.transformer.shorten == (4, 4)


@pytest.mark.parametrize("name", ["mini", "mini-hourglass", "mini-free"])
def test_presets_for_two_cores_can_be_begun(name: str) -> None:
    config, draw = load_preset(name), torch.Generator().manual_seed(0)
    model = StageOne(config, (4, 8))
    if config.transformer.start == "geometric":
        corners, heads = torch.rand(80, 6, generator=draw), torch.rand(2, 80, 6, generator=draw)
        geometric(model, corners, torch.rand(config.faces, 3, generator=draw), heads, draw)
    with torch.no_grad():
        context = model.condition(torch.zeros(1, 4, 8), torch.zeros(1, config.points.samples, 6))
        logits = model(torch.full((1, 32), model.vocabulary.start), context).logits

    assert logits.shape == (1, 32, model.vocabulary.size)
    assert bool(torch.isfinite(logits).all())


def test_the_free_preset_learns_from_fits_without_the_density_constraint() -> None:
    assert changed(load_preset("mini"), load_preset("mini-free")) == {"preset": "mini-free", "fit": "mini-cloud-free"}
    assert changed(load_fit("mini-cloud"), load_fit("mini-cloud-free")) == {"density.enabled": False}
