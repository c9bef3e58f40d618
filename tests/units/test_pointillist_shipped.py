"""The weights inside the package: they belong together, are small, and have not seen whom they are judged on."""

from __future__ import annotations

import hashlib
from pathlib import Path

from avatarbench.datasets.openheads import embedded_split
from avatarbench.methods.pointillist.checkpoint import load_checkpoint, shipped
from avatarbench.methods.pointillist.decoder.checkpoint import check_pair, load_decoder, shipped_decoder
from avatarbench.methods.pointillist.presets import load_preset

RESULTS = Path(__file__).parents[2] / "docs" / "pointillist-results.md"
MOST = 30_000_000
"""Bytes of all weights that ship."""


def test_both_stages_belong_together_and_the_results_are_of_these_weights() -> None:
    stage_one, decoder = load_checkpoint(shipped(), expect=load_preset("mini")), load_decoder(shipped_decoder())
    check_pair(decoder, stage_one)
    assert decoder.config.variant == "full"
    assert decoder.sampling is not None
    assert decoder.sampling.spacing == 0  # as its own clouds were drawn, whatever stage one does by itself
    assert f"weights {stage_one.fingerprint[:12]} " in RESULTS.read_text(encoding="utf-8")


def test_they_are_trained_as_the_preset_says_on_generated_people_of_the_training_split() -> None:
    found = load_checkpoint(shipped())
    preset = load_preset("mini")
    assert found.config.model_copy(update={"generate": preset.generate}) == preset
    assert found.extra["steps"] == preset.train.steps
    marks = found.marks
    assert marks is not None
    assert len(marks) == found.extra["people"]
    judged = [hashlib.sha256(file.read_bytes()).hexdigest() for file in embedded_split().glob("*/identity.json")]
    assert len(judged) == 9
    assert not set(judged) & {one["identity"] for one in marks.values()}


def test_all_weights_are_within_the_size_that_a_repository_bears() -> None:
    folder = shipped().parent
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MOST
