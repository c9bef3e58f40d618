"""What a method is handed beside the pictures: cameras and masks in the protocol's frame, and only what it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from avatarbench import registry
from avatarbench.capability import granted, obstacle
from avatarbench.datasets.nersemble import NersembleDataset
from avatarbench.errors import AvatarbenchError, Unscorable
from avatarbench.method import Avatar, MethodSpec, Motion, Portrait
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.protocol import FrameRef, Manifest
from avatarbench.run.config import ImageConfig, RunConfig
from avatarbench.run.describe import describe_method
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal
from avatarbench.run.pipeline import _note_absent
from avatarbench.run.plan import make_manifest
from avatarbench.run.preflight import TRACKER, Preflight, _check_method, check_cameras
from avatarbench.run.render import Rendered, Renderer
from tests.units.nersemble_fixture import FRONTAL, SERIALS, pictures, pose, write_calibration, write_split


class Recorder:
    """A method that keeps what it was given."""

    portraits: ClassVar[list[Portrait]] = []
    motions: ClassVar[list[Motion]] = []

    def build(self, portrait: Portrait) -> Avatar:
        self.portraits.append(portrait)
        self.image = portrait.image
        return self

    def render(self, motion: Motion) -> np.ndarray:
        self.motions.append(motion)
        return self.image


SPEC = MethodSpec(
    id="recorder", name="R", summary="", factory="tests.units.test_render_inputs:Recorder", status="working",
    licence_code="MIT", needs=("image", "camera"),
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> NersembleDataset:
    face = pictures(1, size=(64, 64))[0]
    return NersembleDataset(write_split(tmp_path / "data", {"501": face, "509": face[::-1]}))


def render(data: NersembleDataset, spec: MethodSpec, folder: Path, size: int = 64) -> tuple[Manifest, Rendered]:
    Recorder.portraits, Recorder.motions = [], []
    protocol = registry.protocol("openheads-cross-gt")
    config = RunConfig(methods=["any"], protocol=protocol.id, image=ImageConfig(size=size))
    manifest = make_manifest(protocol, config, {"openheads": data})
    state = Rendered()
    folder.mkdir(exist_ok=True)
    with Journal(folder / "journal.jsonl") as journal:
        engine = FeatureEngine([], FeatureCache.default())
        inputs = Inputs({"openheads": data}, manifest.image, engine, journal)
        Renderer(spec, {}, inputs, state, journal, folder).render(manifest.pairs, 0, lambda: None)
    return manifest, state


def test_cameras_and_masks_are_in_the_frame_of_the_pictures(data: NersembleDataset, tmp_path: Path) -> None:
    manifest, state = render(data, SPEC, tmp_path, size=32)
    assert state.failures == {}
    (portrait,) = Recorder.portraits
    assert portrait.camera is not None
    assert portrait.mask is not None
    assert portrait.camera.width == 32
    assert np.allclose(portrait.camera.K[:2], np.array([[90, 0, 30.5], [0, 92, 25.25]]) / 2)
    assert portrait.mask.shape == portrait.image.shape[:2] == (32, 32)
    for pair, motion in zip(manifest.pairs, Recorder.motions, strict=True):
        serial = pair.driver.sequence.rpartition("_")[2]
        assert motion.camera is not None
        assert np.allclose(motion.camera.world_to_camera, pose(0.3 * SERIALS.index(serial)))
    # Frames of one driver sequence are counted in temporal order.
    assert [m.index for m in Recorder.motions] == [0, 1] * 3


def test_pictures_of_the_protocols_size_are_handed_on_untouched(data: NersembleDataset, tmp_path: Path) -> None:
    render(data, SPEC, tmp_path)
    sequence = f"501_PORTRAIT_{FRONTAL}"
    assert np.array_equal(Recorder.portraits[0].image, data.read(sequence, 0))
    assert np.array_equal(Recorder.portraits[0].mask, data.mask(sequence, 0))  # type: ignore[arg-type]


def test_a_method_gets_no_camera_and_no_truth_that_it_did_not_ask_for(data: NersembleDataset, tmp_path: Path) -> None:
    render(data, replace(SPEC, needs=("image",)), tmp_path)
    assert Recorder.portraits[0].camera is None
    assert all(m.camera is None and m.target is None for m in Recorder.motions)


def test_what_a_method_wants_it_gets_where_the_protocol_provides_it(data: NersembleDataset, tmp_path: Path) -> None:
    eager = replace(SPEC, needs=("image",), wants=("camera", "flame"))
    there, not_there = (granted(eager, registry.protocol(p)) for p in ("openheads-cross-gt", "portrait-cross"))
    assert (there.needs, not_there.needs) == (("image", "camera", "flame"), ("image", "flame"))
    assert obstacle(eager, registry.protocol("portrait-cross")) is None
    render(data, there, tmp_path)
    assert Recorder.portraits[0].camera is not None
    assert all(m.camera is not None for m in Recorder.motions)  # the calibrated one: nothing is tracked here
    assert all(m.flame is None for m in Recorder.motions)


def test_what_was_tracked_goes_with_its_own_camera_and_what_was_not_costs_its_frame(
    data: NersembleDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flame, camera = object(), object()
    monkeypatch.setattr(Inputs, "flame", lambda inputs, ref: (flame, camera) if ref.index else None)
    driven = replace(SPEC, needs=("image", "flame", "camera"))
    manifest, state = render(data, driven, tmp_path / "needs")
    assert {(m.flame, m.camera) for m in Recorder.motions} == {(flame, camera)}
    assert Recorder.portraits[0].flame is None  # frame 0: a source is the method's to track
    assert Recorder.portraits[0].camera is not None
    lost = [pair for pair in manifest.pairs if pair.driver.index == 0]
    assert set(state.failures) == {pair.id for pair in lost}
    assert state.failures[lost[0].id] == f"frame 0 of '{lost[0].driver.sequence}' has no FLAME tracking"
    _, state = render(data, replace(driven, wants=("flame",)), tmp_path / "wants")
    assert state.failures == {}


def test_a_portrait_without_a_face_costs_a_method_that_needs_one_and_not_one_that_wants_it(
    data: NersembleDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faceless(inputs: Inputs, ref: FrameRef) -> None:
        raise Unscorable("no face found")

    monkeypatch.setattr(Inputs, "track", faceless)
    protocol = registry.protocol("openheads-cross-gt")
    eager = replace(SPEC, needs=("image",), wants=("mediapipe",))
    manifest, state = render(data, granted(eager, protocol), tmp_path / "eager")
    assert len(state.digests) == len(manifest.pairs)
    assert Recorder.portraits[0].face is None
    manifest, state = render(data, replace(SPEC, needs=("mediapipe",)), tmp_path / "needy")
    assert set(state.failures.values()) == {"no avatar: no face found"}


def test_the_landmarker_is_checked_for_those_that_want_it_too() -> None:
    eager = replace(SPEC, id="eager", needs=("image",), wants=("mediapipe",))
    found = Preflight(registry.protocol("openheads-cross"), [], [])
    _check_method(found, eager, {}, {TRACKER: "the landmarker"})
    assert found.optional == ["method 'eager' lacks the landmarker"]


def test_what_the_run_filled_in_is_recorded_and_makes_the_tracker_the_judge() -> None:
    eager = replace(SPEC, needs=("image",), wants=("mediapipe", "camera", "flame"))
    found = Preflight(registry.protocol("openheads-cross"), [eager], [registry.metric("akd-mediapipe")])
    found.absent |= {"camera": "there is none", "flame": "nothing was imported"}
    record = describe_method(eager, {}, found)
    assert record.reads == ["image", "mediapipe"]
    assert record.tracker_is_judge == ["akd-mediapipe"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"needs": ("views",)}, "needs views, which no ranked method may see"),
        ({"needs": ("image", "target")}, "needs target, which no ranked method may see"),
        ({"wants": ("views",)}, "wants views: a want is one of mediapipe, flame, camera"),
        ({"wants": ("target",), "role": "bound"}, "wants target: a want is one of"),
    ],
)
def test_a_method_that_would_see_the_answer_unmarked_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(AvatarbenchError, match=f"the method 'recorder' {message}"):
        replace(SPEC, **changes)
    assert replace(SPEC, needs=("views", "target"), role="bound").wants == ()


def test_a_run_lists_the_cameras_that_a_method_would_miss(data: NersembleDataset, tmp_path: Path) -> None:
    protocol = registry.protocol("openheads-cross")
    manifest = make_manifest(protocol, RunConfig(methods=["any"], protocol=protocol.id), {"openheads": data})

    def left_out() -> Preflight:
        blind = replace(SPEC, id="blind", needs=("image",))
        eager = replace(blind, id="eager", wants=("camera",))
        found = Preflight(protocol, [SPEC, blind, eager], [], {"openheads": NersembleDataset(tmp_path / "data")})
        check_cameras(found, manifest)
        given = {m.id: "camera" in granted(m, protocol, found.absent).needs for m in found.runnable_methods}
        assert given == {m.id: m.id != "blind" and not found.absent for m in found.runnable_methods}
        return found

    assert left_out().optional == []
    assert left_out().absent == {}
    write_calibration(tmp_path / "data" / "509", world_2_cam={})
    found = left_out()
    assert found.without_methods == {"recorder": "no camera"}  # the eager one does without, in every frame
    assert [m.id for m in found.runnable_methods] == ["blind", "eager"]
    with Journal(tmp_path / "journal.jsonl") as journal:
        inputs = Inputs(found.datasets, manifest.image, FeatureEngine([], FeatureCache.default()), journal)
        _note_absent(found, inputs)
        assert [note.partition(": ")[0] for note in inputs.notes()] == ["eager is given no camera"]
    assert "camera_params.json has no world_2_cam" in found.optional[0]
    assert "(3 sequences in all)" in found.optional[0]
    (tmp_path / "data" / "501" / "calibration" / "camera_params.json").unlink()
    assert f"'501_PORTRAIT_{FRONTAL}' has no calibrated camera" in left_out().optional[0]


@pytest.mark.parametrize(("trained_on", "flag"), [((), False), (("vfhq",), False), (("vfhq", "openheads"), True)])
def test_a_method_trained_on_the_family_of_the_data_is_in_domain(trained_on: tuple[str, ...], flag: bool) -> None:
    found = Preflight(registry.protocol("openheads-cross"), [], [])
    assert describe_method(replace(SPEC, trained_on=trained_on), {}, found).in_domain is flag


def test_the_family_of_a_dataset_stands_for_its_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = {name: registry.dataset(name) for name in registry.names("datasets")}
    small = replace(known["openheads"], id="openheads-small")
    monkeypatch.setattr(registry, "dataset", lambda name: {**known, small.id: small}[name])
    protocol = registry.protocol("openheads-cross")
    copy = replace(protocol, **{s: replace(getattr(protocol, s), dataset=small.id) for s in ("sources", "drivers")})
    found = Preflight(replace(copy, references=None), [], [])
    assert describe_method(replace(SPEC, trained_on=("openheads",)), {}, found).in_domain
    assert not describe_method(replace(SPEC, trained_on=("openheads-small",)), {}, found).in_domain


def test_what_holds_of_many_sequences_is_one_note_in_a_resumed_run_too(data: NersembleDataset, tmp_path: Path) -> None:
    contract, engine = registry.protocol("openheads-cross-gt").image, FeatureEngine([], FeatureCache(None))
    with Journal(tmp_path / "journal.jsonl") as journal:
        inputs = Inputs({"openheads": data}, contract, engine, journal)
        inputs.note("of all of it")
        for name in ("d", "a", "c", "b", "a"):
            inputs.note("renamed", name)
            inputs.note(f"{ord(name) - 96} lost", name)
        lost = ["a: 1 lost", "b: 2 lost", "c: 3 lost", "d: 4 lost"]
        assert inputs.notes() == ["4 sequences (the first: a): renamed", *lost, "of all of it"]
        assert Inputs({"openheads": data}, contract, engine, journal).notes() == inputs.notes()
