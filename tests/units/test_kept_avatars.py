"""Avatars that a run keeps: once a source, whole or not at all, and never at the cost of a frame."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.gaussians.head import GaussianHead
from avatarbench.method import Motion, Portrait
from avatarbench.methods.gaussian_fit.method import FittedHead
from avatarbench.protocol import FrameRef
from avatarbench.viewer.page import opened
from tests.units.nersemble_fixture import FRONTAL, pictures, write_split
from tests.units.test_gaussian_fit import head
from tests.units.test_render_inputs import SPEC, render


class Savable:
    """A method whose avatars are saved as the test says."""

    saving: ClassVar[Callable[[Path], object]]

    def build(self, portrait: Portrait) -> Savable:
        self.image = portrait.image
        return self

    def render(self, motion: Motion) -> np.ndarray:
        return self.image

    def save(self, path: Path) -> None:
        Savable.saving(path)


@pytest.fixture
def data(tmp_path: Path) -> NersembleDataset:
    face = pictures(1, size=(64, 64))[0]
    return NersembleDataset(write_split(tmp_path / "data", {"501": face, "509": face[::-1]}))


def _rendered(data: NersembleDataset, folder: Path, saving: Callable[[Path], object]) -> list[str]:
    """Every frame is there; the notes."""
    Savable.saving = staticmethod(saving)
    folder.mkdir(exist_ok=True)
    spec = replace(SPEC, id="some/one", needs=("image",), factory="tests.units.test_kept_avatars:Savable")
    manifest, state = render(data, spec, folder)
    assert state.failures == {}
    assert len(state.digests) == len(manifest.pairs)
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [event["text"] for event in events if event["kind"] == "note"]


def test_an_avatar_that_can_be_saved_is_kept_once(data: NersembleDataset, tmp_path: Path) -> None:
    assert _rendered(data, tmp_path / "r", lambda path: path.write_bytes(b"first")) == []
    kept = tmp_path / "r" / "avatars" / "some__one" / f"501_PORTRAIT_{FRONTAL}.avatar"
    assert kept.read_bytes() == b"first"
    assert _rendered(data, tmp_path / "r", lambda path: path.write_bytes(b"second")) == []
    assert kept.read_bytes() == b"first"
    assert list(kept.parent.iterdir()) == [kept]


@pytest.mark.parametrize(
    ("saving", "why"),
    [
        (lambda path: [path.write_bytes(b"half"), sys.exit(5)], "SystemExit: 5"),
        (lambda path: [path.write_bytes(b"half"), 1 / 0], "ZeroDivisionError"),
        (lambda path: None, "FileNotFoundError"),
    ],
    ids=["exits", "raises", "writes nothing"],
)
def test_one_that_cannot_be_saved_costs_no_frame_and_is_noted(
    saving: Callable[[Path], object], why: str, data: NersembleDataset, tmp_path: Path
) -> None:
    (note,) = _rendered(data, tmp_path / "r", saving)
    assert note.startswith(f"some/one: the avatar of '501_PORTRAIT_{FRONTAL}' was not saved: {why}")
    assert not list((tmp_path / "r" / "avatars").rglob("*avatar*"))


def test_gaussian_fit_saves_a_head_that_the_viewer_opens(tmp_path: Path) -> None:
    FittedHead(head()).save(tmp_path / "a.avatar")
    found = opened(tmp_path / "a.avatar")
    assert isinstance(found, GaussianHead)
    assert torch.allclose(found.posed(*found.neutral()).means, head().posed(*head().neutral()).means, atol=1e-5)


def test_two_frames_of_one_sequence_are_two_avatars() -> None:
    assert [FrameRef("d", "s", index, "").name for index in (0, 7)] == ["s", "s@000007"]
