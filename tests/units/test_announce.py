"""Methods that render whole sequences are told of an avatar's frames before the first, all of them, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from avatarbench import registry
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.method import MethodSpec, Motion, Portrait, Site
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.run.announce import Spool
from avatarbench.run.config import ImageConfig, RunConfig
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal
from avatarbench.run.plan import make_manifest
from avatarbench.run.render import Rendered, Renderer, replay
from tests.units.nersemble_fixture import pictures, write_split
from tests.units.test_render_inputs import SPEC


class Sequenced:
    """A method that only answers for what was announced, and notes what it was asked."""

    calls: ClassVar[list[str]] = []
    seeds: ClassVar[list[int]] = []
    fails: ClassVar[bool] = False
    stops: ClassVar[int] = 1000

    def open(self, site: Site) -> None:
        self.calls.append("open")
        self.site = site

    def describe(self) -> dict[str, str]:
        return {"name": "somewhere"}

    def close(self) -> None:
        self.calls.append("close")

    def build(self, portrait: Portrait) -> Sequenced:
        self.calls.append("build")
        self.image = portrait.image
        return self

    def seed(self, value: int) -> None:
        self.seeds.append(value)

    def announce(self, motions: Sequence[Motion]) -> None:
        self.calls.append(f"announce {len(motions)}")
        if self.fails:
            raise RuntimeError("the sequence did not render")
        self.site.restarted("it was killed")
        self.known = [motion.id for motion in motions]

    def render(self, motion: Motion) -> np.ndarray:
        self.calls.append("render")
        if self.calls.count("render") > self.stops:
            raise KeyboardInterrupt
        return np.full_like(self.image, self.known.index(motion.id))


METHOD: MethodSpec = replace(SPEC, id="sequenced", needs=("image",), factory="tests.units.test_announce:Sequenced")


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("calls", []), ("seeds", []), ("fails", False), ("stops", 1000)):
        monkeypatch.setattr(Sequenced, name, value)


@pytest.fixture
def data(tmp_path: Path) -> NersembleDataset:
    return NersembleDataset(write_split(tmp_path / "data", {"501": pictures(1, size=(64, 64))[0]}))


def render(data: NersembleDataset, folder: Path) -> Rendered:
    """What the journal of ``folder`` lacks."""
    protocol = registry.protocol("openheads-self")
    config = RunConfig(methods=["any"], protocol=protocol.id, image=ImageConfig(size=64))
    manifest = make_manifest(protocol, config, {"openheads": data})
    folder.mkdir(exist_ok=True)
    with Journal(folder / "journal.jsonl") as journal:
        state = replay(journal, folder)[METHOD.id]
        inputs = Inputs({"openheads": data}, manifest.image, FeatureEngine([], FeatureCache.default()), journal)
        Renderer(METHOD, {}, inputs, state, journal, folder).render(manifest.pairs, 0, lambda: None)
        return replay(journal, folder)[METHOD.id]


def test_frames_are_announced_once_after_the_build_and_before_the_first(data: NersembleDataset, tmp_path: Path) -> None:
    state = render(data, tmp_path / "run")
    count = len(state.digests)
    assert count > 2
    assert state.failures == {}
    assert Sequenced.calls == ["open", "build", f"announce {count}", *["render"] * count, "close"]
    assert len(set(Sequenced.seeds)) == count + 2  # told before the build, the announcement and each frame
    assert state.isolation == {"name": "somewhere"}
    assert state.restarts == 1


def test_an_interrupted_run_announces_all_frames_again_and_renders_the_rest(
    data: NersembleDataset, tmp_path: Path
) -> None:
    whole = render(data, tmp_path / "whole")
    Sequenced.stops = 2 + Sequenced.calls.count("render")
    with pytest.raises(KeyboardInterrupt):
        render(data, tmp_path / "run")
    assert Sequenced.calls[-1] == "close"  # interrupted or not
    Sequenced.stops = 1000
    Sequenced.calls.clear()
    resumed = render(data, tmp_path / "run")
    count = len(whole.digests)
    assert Sequenced.calls == ["open", "build", f"announce {count}", *["render"] * (count - 2), "close"]
    assert resumed.digests == whole.digests
    assert resumed.restarts == 2  # one in each of the two sessions


def test_a_sequence_that_cannot_be_prepared_costs_its_frames_with_the_reason(
    data: NersembleDataset, tmp_path: Path
) -> None:
    Sequenced.fails = True
    state = render(data, tmp_path / "run")
    assert state.digests == {}
    assert set(state.failures.values()) == {
        "its frames could not be prepared: RuntimeError: the sequence did not render"
    }


def test_seconds_of_the_announcement_are_shared_over_the_frames_and_lost_ones_left_out(
    data: NersembleDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("avatarbench.run.render.time.perf_counter", lambda: now)

    def announce(self: Sequenced, motions: Sequence[Motion]) -> None:
        nonlocal now
        now += 2.0 * len(motions) + 5.0
        self.lost_seconds = 5.0  # type: ignore[attr-defined]
        self.known = [motion.id for motion in motions]

    def answer(self: Sequenced, motion: Motion) -> np.ndarray:
        nonlocal now
        now += 0.25
        self.lost_seconds = 0.0  # type: ignore[attr-defined]
        return self.image

    monkeypatch.setattr(Sequenced, "announce", announce)
    monkeypatch.setattr(Sequenced, "render", answer)
    assert set(render(data, tmp_path / "run").seconds.values()) == {2.25}


def test_motions_come_back_from_the_spool_as_they_were_and_as_copies(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    floating: Any = draw.random((3, 3, 3), np.float32)
    motions = [
        Motion("a", 0, draw.integers(0, 255, (7, 5, 3), np.uint8)),
        Motion("b", 1, draw.integers(0, 255, (9, 9, 3), np.uint8), target=draw.integers(0, 255, (4, 4, 3), np.uint8)),
        Motion("c", 2, floating),
    ]
    spool = Spool(tmp_path)
    assert list(spool) == []
    for motion in motions:
        spool.append(motion)
    assert list(tmp_path.iterdir()) == []  # nothing stays of it after a kill
    for found in (list(spool), spool[:], [spool[-3], spool[-2], spool[-1]], [spool.find(name) for name in "abc"]):
        for given, back in zip(motions, found, strict=True):
            assert back is not None
            assert (back.id, back.index, back.target is None) == (given.id, given.index, given.target is None)
            np.testing.assert_array_equal(back.image, given.image)
            assert back.image.dtype == given.image.dtype
            back.image[:] = 0
    np.testing.assert_array_equal(spool[1].target, motions[1].target)
    assert spool.find("d") is None
    with pytest.raises(IndexError):
        spool[3]
