"""Presets of the decoder: the ablations differ from mini in what they read, and nonsense is refused by name."""

from __future__ import annotations

import pytest
import torch

from avatarbench.errors import UsageError
from avatarbench.methods.pointillist.decoder.model import Decoder
from avatarbench.methods.pointillist.decoder.presets import load_decoder_preset

READS = {
    "mini": (True, True, True),
    "mini-ar-position": (True, False, True),
    "mini-ar-feature": (False, True, True),
    "mini-flame-position": (True, False, False),
}


@pytest.mark.parametrize("name", READS)
def test_an_ablation_is_mini_but_for_what_it_reads(name: str) -> None:
    found = load_decoder_preset(name)
    assert (found.reads_positions, found.reads_states, found.generated) == READS[name]
    assert found.preset == name
    same = {"preset": "mini", "variant": "full"}
    assert found.model_copy(update=same) == load_decoder_preset("mini")


def test_paper_has_the_sizes_and_weights_of_the_paper() -> None:
    found = load_decoder_preset("paper")
    assert (found.blocks, found.heads, found.width, found.bands) == (12, 16, 1024, 8)
    assert found.train.weights.model_dump() == {"l1": 1, "ssim": 0.5, "lpips": 0.1, "offset": 0.1}
    assert (found.train.steps, found.train.batch, found.train.net) == (12_500, 4, "vgg")
    assert found.limits.offset == 0.1


def test_mini_stays_small_enough_to_ship() -> None:
    with torch.device("meta"):
        model = Decoder(load_decoder_preset("mini"), (196, 512), 192)
    assert sum(value.numel() for value in model.parameters()) < 4e6


def test_overrides_reach_every_section() -> None:
    found = load_decoder_preset("mini", ["variant=ar-position", "limits.offset=0.02", "train.weights.lpips=0"])
    assert (found.variant, found.limits.offset, found.train.weights.lpips) == ("ar-position", 0.02, 0)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("variant=none", "variant.*'full'"),
        ("heads=5", "192 is no multiple of heads 5"),
        ("start.scale=0.2", "start.scale 0.2 is not between"),
        ("start.opacity=1", "start.opacity"),
        ("limits.offset=0", "limits.offset"),
        ("blocks=0", "blocks"),
        ("train.stepz=1", "'train.stepz'.*steps"),
        ("train.weights={l1: 0, ssim: 0, lpips: 0}", "one of l1, ssim and lpips"),
    ],
)
def test_values_that_make_no_decoder_are_named(override: str, named: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){named}"):
        load_decoder_preset("mini", [override])


def test_an_unknown_preset_names_those_near() -> None:
    with pytest.raises(UsageError, match="mini"):
        load_decoder_preset("minni")
