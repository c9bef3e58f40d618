"""Training of the decoder: it learns, goes on bit for bit where it was interrupted, and moves heads as avatars do."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from avatarbench.errors import DataError, UsageError
from avatarbench.gaussians.head import GaussianHead
from avatarbench.methods.pointillist.decoder import run
from avatarbench.methods.pointillist.decoder.batches import Batches
from avatarbench.methods.pointillist.decoder.checkpoint import load_decoder
from avatarbench.methods.pointillist.decoder.clouds import Drawn
from avatarbench.methods.pointillist.decoder.config import DecoderConfig
from avatarbench.methods.pointillist.decoder.curves import plot
from avatarbench.methods.pointillist.decoder.frames import Frame, Pose
from avatarbench.methods.pointillist.decoder.gaussians import cloud_of
from avatarbench.methods.pointillist.decoder.motion import Movable
from avatarbench.methods.pointillist.decoder.run import STATE, WEIGHTS, Origin, train
from avatarbench.methods.pointillist.decoder.trainer import Trainer, decoded, pictures
from avatarbench.methods.pointillist.decoder.validation import Validation
from avatarbench.methods.pointillist.tracked_size import relative_scale
from avatarbench.methods.pointillist.training.curves import read_log
from avatarbench.methods.pointillist.training.evaluation import Remembered
from avatarbench.methods.pointillist.training.loop import Interrupt, Stop, Watched
from avatarbench.methods.pointillist.training.trainer import Diverged
from tests.decoder_tiny import (
    CPU,
    TinyClouds,
    TinyFrames,
    movable,
    octahedron_rig,
    tiny_batches,
    tiny_decoder,
    tiny_trainer,
)
from tests.pointillist_tiny import Others, TinySet
from tests.units.test_pointillist_training import Killed, equal, everything, killed_at, without_times

ORIGIN = Origin("data", "clouds", "views", "stage one", "rig")


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take a second each; one test draws one."""
    monkeypatch.setattr(run, "plot", lambda *_: None)


def hard(**train: Any) -> DecoderConfig:
    return tiny_decoder(warmup=2, decay="cosine", **train)


def trained(
    out: Path, config: DecoderConfig | None = None, watch: Callable[[Watched], None] | None = None, **more: Any
) -> Trainer:
    config = config or hard()
    origin = more.pop("origin", ORIGIN)
    asked = {"watch": watch} if watch else {}
    return train(tiny_batches(config), origin, out, config, Accelerator(), **asked, **more)


def test_it_learns_a_subject_by_heart() -> None:
    trainer = tiny_trainer(tiny_decoder(batch=1, views=3, rate=3e-2), TinyClouds(TinySet((14,))))
    losses = [trainer.step().loss for _ in range(80)]
    assert losses[-1] < 0.35 * losses[0]


@pytest.mark.parametrize("variant", ["full", "flame-position", "ar-feature", "ar-position"])
def test_a_gradient_reaches_every_weight(variant: str) -> None:
    trainer = tiny_trainer(tiny_decoder(variant))
    trainer.step()  # heads begin at zero, and let nothing through in the first
    trainer.step()
    for name, parameter in trainer.model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        if not name.endswith("key.bias"):
            assert bool(parameter.grad.any()), name


def test_moving_a_cloud_is_what_an_avatar_does() -> None:
    trainer = tiny_trainer(tiny_decoder())
    trainer.step()
    (item, *_) = trainer.batches.items(0)
    person = trainer.batches.people[trainer.batches._order[0][0]]
    with torch.no_grad():
        cloud = cloud_of(item.subject.points, decoded(trainer.model, item.subject))
        moved = item.subject.skeleton.posed(cloud, [frame.pose for frame in item.frames])
    head = GaussianHead(cloud, octahedron_rig(), torch.tensor([float(person)]))
    for frame, found in zip(item.frames, moved, strict=True):
        wanted = head.posed(*frame.pose, "barycentric")
        torch.testing.assert_close(found.means, wanted.means)
        torch.testing.assert_close(found.quaternions, wanted.quaternions)


def test_a_mesh_that_coefficients_do_not_reach_moves_by_its_offsets() -> None:
    """A tracked mesh is taken as it is, whatever its coefficients give."""
    rig, bumps = octahedron_rig(), 0.01 * torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    shape = torch.tensor([2.0])
    rest = rig.rest(shape[None], torch.zeros(1, 0))[0][0] + bumps
    points = TinySet().cloud("002")
    pose = TinyFrames().frame("002", 2).pose
    cloud = cloud_of(points, _plain(len(points.bindings)))
    (found,) = movable().skeleton(rest, shape).posed(cloud, [pose])
    wanted = GaussianHead(cloud, rig, shape, offsets=bumps).posed(*pose, "barycentric")
    torch.testing.assert_close(found.means, wanted.means)


class Smaller(TinyClouds):
    """As if a tracker had taken every head, and stage one every cloud, for 0.96 of its size."""

    def drawn(self, person: str, portrait: int) -> Drawn:
        found = super().drawn(person, portrait)
        points = found.points._replace(positions=0.96 * found.points.positions)
        return found._replace(points=points, vertices=0.96 * found.vertices)


class Still(TinyFrames):
    """Heads that turn and stand aside of the origin, without expression, which has no size of its own."""

    def frame(self, person: str, number: int) -> Frame:
        found = super().frame(person, number)
        pose = Pose(torch.zeros(2), found.pose.joints + 0.2, torch.tensor([0.04, -0.03, 0.1]))
        return found._replace(pose=pose)


def test_a_head_that_was_tracked_too_small_gives_the_true_ones_picture() -> None:
    config, subjects = tiny_decoder(), TinySet()
    true, small = (Batches(c, subjects, Still(), movable(), config, CPU) for c in (TinyClouds(), Smaller()))
    seen = []
    for batches, size in ((true, 1.0), (small, 0.96)):
        subject = batches.subject("001", 0)
        assert subject.scale == pytest.approx(size)
        frames = batches.seen("001", subject, [0, 1, 2])
        cloud = cloud_of(subject.points, _plain(len(subject.points.bindings)))
        posed = subject.skeleton.posed(replace(cloud, scales=size * cloud.scales), [frame.pose for frame in frames])
        seen.append(pictures(posed, [frame.camera for frame in frames]))
    assert float(seen[0].min()) < 0.9
    assert float((seen[0] - seen[1]).abs().max()) < 1e-4
    unscaled = [Still().frame("001", number) for number in range(3)]
    moved = pictures(subject.skeleton.posed(cloud, [f.pose for f in unscaled]), [f.camera for f in unscaled])
    assert float((seen[0] - moved).abs().max()) > 0.05
    for item in small.items(0):  # what a step learns from
        assert item.subject.scale == pytest.approx(0.96)
        assert all(np.linalg.norm(f.camera.world_to_camera[:3, 3]) == pytest.approx(0.48) for f in item.frames)


def test_a_true_head_of_another_rig_has_no_size_to_compare() -> None:
    with pytest.raises(DataError, match="a tracked mesh has 7 vertices and the person's own 6"):
        relative_scale(torch.ones(7, 3), torch.ones(6, 3))
    with pytest.raises(DataError, match=r"0\.0 times as large"):
        relative_scale(torch.zeros(6, 3), torch.ones(6, 3))


def _plain(count: int) -> Any:
    from avatarbench.methods.pointillist.decoder.model import Attributes

    turns = torch.tensor([1.0, 0, 0, 0]).repeat(count, 1)
    ones = torch.ones(count, 3)
    return Attributes(0.5 * ones, 0.9 * ones[:, 0], 0.01 * ones, turns, 0 * ones)


def test_a_mesh_of_another_rig_is_refused() -> None:
    with pytest.raises(DataError, match=r"a tracked mesh has 7 vertices and 1 coefficients, and the rig .* 6 and 1"):
        Movable(octahedron_rig(), None, CPU).skeleton(torch.zeros(7, 3), torch.zeros(1))


def test_a_steps_items_are_the_same_however_many_processes_share_them() -> None:
    config = tiny_decoder(batch=3)
    alone, shared = tiny_batches(config), tiny_batches(config)
    for step in (3, 0):
        whole = alone.items(step)
        parts = [shared.items(step, process, 2) for process in range(2)]
        for item, other in zip(whole, [parts[0][0], parts[1][0], parts[0][1]], strict=True):
            assert torch.equal(item.subject.image, other.subject.image)
            assert all(torch.equal(a.image, b.image) for a, b in zip(item.frames, other.frames, strict=True))
    who = [batch.subject.skeleton for step in range(2) for batch in tiny_batches(config).items(step)]
    assert len(who) == 6


def test_everybody_is_learnt_from_once_an_epoch_in_different_pictures() -> None:
    batches = tiny_batches(tiny_decoder(batch=3, views=2))
    for step in range(3):
        items = batches.items(step)
        assert len({len(item.subject.points.bindings) for item in items}) == 3
        for item in items:
            assert not torch.equal(item.frames[0].image, item.frames[1].image)
    assert len(tiny_batches(tiny_decoder(views=5)).items(0)[0].frames) == 5  # more than there are


def test_clouds_without_an_end_are_left_out_and_told_of() -> None:
    left = {"000": {0: "bound"}, "001": {0: "bound", 1: "bound"}}
    batches = tiny_batches(tiny_decoder(), TinyClouds(left=left))
    assert batches.people == ["000", "002"]
    assert batches.notes == [
        "3 of 6 clouds did not come to an end of their own and are not learnt from, so that nothing is learnt of 001"
    ]
    everybody = {person: {0: "bound", 1: "bound"} for person in ("000", "001", "002")}
    with pytest.raises(DataError, match="no cloud came to an end of its own"):
        tiny_batches(tiny_decoder(), TinyClouds(left=everybody))


def test_the_variant_without_stage_one_has_the_rigs_vertices() -> None:
    subject = tiny_batches(tiny_decoder("flame-position")).subject("002", 1)
    assert torch.equal(subject.points.positions, TinySet().rest("002"))
    assert subject.states is None


@pytest.mark.parametrize("killed", [1, 5])
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, killed: int) -> None:
    whole = trained(tmp_path / "whole")
    with pytest.raises(Killed):
        trained(tmp_path / "cut", watch=killed_at(killed))
    again = trained(tmp_path / "cut")
    assert equal(everything(again), everything(whole))  # type: ignore[arg-type]
    assert without_times(tmp_path / "cut") == without_times(tmp_path / "whole")
    cut, undisturbed = (load_decoder(tmp_path / name / WEIGHTS).fingerprint for name in ("cut", "whole"))
    assert cut == undisturbed


def test_an_interrupted_run_saves_the_step_it_is_in_and_says_stop(tmp_path: Path) -> None:
    interrupt = Interrupt()

    def ask(watched: Watched) -> None:
        interrupt.asked = watched.step.step == 2

    with pytest.raises(Stop):
        trained(tmp_path, hard(save_every=100), ask, interrupt=interrupt)
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 3
    assert trained(tmp_path).done == 6


def test_what_is_written_are_the_averaged_weights_with_where_they_come_from(tmp_path: Path) -> None:
    trainer = trained(tmp_path / "full")
    loaded = load_decoder(tmp_path / "full" / WEIGHTS)
    assert equal(dict(loaded.model.state_dict()), dict(trainer.ema.average.state_dict()))
    assert (loaded.ar, loaded.rig, loaded.tokenizer) == ("stage one", "rig", TinySet().tokenizer)
    wanted = {"steps": 6, "people": 3, "data": "data", "clouds": "clouds", "views": "views"}
    assert {key: loaded.extra[key] for key in wanted} == wanted
    assert loaded.sampling is None
    sampling = {"generate": {"points": 7}, "precision": "float32", "encoder": "e"}
    drawn = ORIGIN._replace(sampling=sampling)
    trained(tmp_path / "alone", tiny_decoder("flame-position", steps=1), origin=drawn)
    told = load_decoder(tmp_path / "alone" / WEIGHTS)
    assert told.sampling is not None
    assert (told.sampling.points, told.encoder, told.extra["precision"]) == (7, "e", "float32")
    assert load_decoder(tmp_path / "alone" / WEIGHTS).ar is None
    assert json.loads((tmp_path / "full" / "config.json").read_text())["train"]["steps"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": hard(rate=0.02)}, r"train.rate is 0.01 there and 0.02 here"),
        ({"config": tiny_decoder("ar-position", warmup=2, decay="cosine")}, r"variant is 'full' there and 'ar-pos"),
        ({"origin": ORIGIN._replace(clouds="other")}, r"clouds is 'clouds' there and 'other' here"),
        ({"origin": ORIGIN._replace(views="other")}, r"views is 'views' there and 'other' here"),
    ],
)
def test_training_on_something_else_is_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    trained(tmp_path, hard(steps=1) if "config" not in change else None)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(DataError, match=rf"holds another training:\n(.*\n)*  {message}"):
        trained(tmp_path, **{"config": hard(steps=1)} | change)
    assert (tmp_path / STATE).read_bytes() == before


def test_a_folder_of_stage_one_is_not_trained_in(tmp_path: Path) -> None:
    (tmp_path / "ar.safetensors").write_bytes(b"")
    (tmp_path / STATE).write_bytes(b"")
    with pytest.raises(UsageError, match=r"holds ar.safetensors, another stage's training: choose another --out"):
        trained(tmp_path)


def test_a_file_that_was_exported_beside_the_weights_is_no_other_training(tmp_path: Path) -> None:
    trained(tmp_path, hard(steps=1))
    (tmp_path / "mini.safetensors").write_bytes((tmp_path / WEIGHTS).read_bytes())
    assert trained(tmp_path, hard(steps=1)).done == 1


def test_a_loss_that_is_no_number_stops_before_the_weights_are_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = run.Trainer.step

    def poisoned(self: Trainer, *args: Any) -> Any:
        if self.done == 3:
            with torch.no_grad():
                self.model.heads.colour.bias[0] = math.nan
        return sound(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", poisoned)
        with pytest.raises(Diverged, match=r"step 4: the loss is nan .* lower train.rate"):
            trained(tmp_path)
    kept = torch.load(tmp_path / STATE, weights_only=True)
    assert kept["step"] == 2
    assert all(bool(torch.isfinite(value).all()) for value in kept["model"].values())


def test_a_full_disk_is_our_error_and_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = run.write_state

    def full(path: Path, trainer: Any, *args: Any) -> None:
        if trainer.done == 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        sound(path, trainer, *args)

    monkeypatch.setattr(run, "write_state", full)
    with pytest.raises(DataError, match=r"state.pt cannot be written \(No space left on device\): free some space"):
        trained(tmp_path)
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 2


def test_more_processes_than_subjects_are_refused() -> None:
    class Many:
        num_processes = 3
        device = torch.device("cpu")

    with pytest.raises(UsageError, match=r"3 processes share 2 subjects a step \(train.batch\)"):
        Trainer(tiny_batches(tiny_decoder()), tiny_decoder(), Many())  # type: ignore[arg-type]


def held_out() -> Validation:
    others = Others(7, 8)
    return Validation(others, TinySet(), tiny_batches(tiny_decoder(), TinyClouds(others)))


def test_people_held_out_are_judged_and_shown(tmp_path: Path) -> None:
    trained(tmp_path, tiny_decoder(steps=4, evaluate_every=2), validation=held_out())
    lines = read_log(tmp_path / "log.jsonl")
    assert ["held_out" in line for line in lines] == [False, True, False, True]
    found = lines[-1]["held_out"]
    assert found["people"] == 2
    assert found["terms"].keys() == {"l1", "ssim", "lpips", "offset"}
    sheets = sorted((tmp_path / "validation").iterdir())
    assert [path.name for path in sheets] == ["step-000002.png", "step-000004.png"]
    sheet = np.array(Image.open(sheets[1]))
    assert sheet.shape == (64, 32 * 5, 3)  # a row a person: the source, and two pictures beside their targets
    wanted = TinyFrames(Others(7, 8)).frame("003", 0).image
    assert np.abs(sheet[:32, 64:96] / 255 - wanted.numpy()).max() < 0.01
    plot(lines, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_people_who_are_trained_on_are_no_held_out_ones() -> None:
    with pytest.raises(UsageError, match="000, 001, 002 are trained on too"):
        Validation(TinySet(), TinySet(), tiny_batches(tiny_decoder()))


def test_people_whom_stage_one_knows_are_no_held_out_ones() -> None:
    others = Others(7, 8)
    batches = tiny_batches(tiny_decoder(), TinyClouds(others))
    with pytest.raises(
        UsageError, match=r"^004: stage one was trained on them, so that its clouds of them are no stran"
    ):
        Validation(others, TinySet(), batches, Remembered({"004": {}, "000": {}}))
    Validation(others, TinySet(), batches, Remembered({"000": {}}))
