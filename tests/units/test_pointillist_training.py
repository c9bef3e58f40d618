"""Training of stage one: it learns, goes on bit for bit where it was interrupted, and refuses other data."""

from __future__ import annotations

import errno
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from avatarbench.errors import DataError, UsageError
from avatarbench.heads.rig import faces_digest
from avatarbench.methods.pointillist.checkpoint import load_checkpoint
from avatarbench.methods.pointillist.config import Config, Train
from avatarbench.methods.pointillist.training import curves, run, state
from avatarbench.methods.pointillist.training.curves import read_log
from avatarbench.methods.pointillist.training.ema import Ema
from avatarbench.methods.pointillist.training.optimiser import Both, groups
from avatarbench.methods.pointillist.training.run import STATE, WEIGHTS, Interrupt, Stop, Watched, train
from avatarbench.methods.pointillist.training.trainer import Diverged, Trainer, rate_at
from tests.conftest import call
from tests.pointillist_tiny import TinyEncoder, TinySet, tiny_config

HARD = {
    "augment": {"mirror": True, "scale": 0.03, "warp": 0.004, "colour": 0.2},
    "smooth": 1.0,
    "warmup": 2,
    "decay": "cosine",
}


def hard(**values: object) -> Config:
    config = tiny_config(**HARD, **values).model_dump()
    config["transformer"]["dropout"] = 0.2
    return Config.model_validate(config)


def trained(
    out: Path, config: Config | None = None, watch: Callable[[Watched], None] | None = None, **more: Any
) -> Trainer:
    subjects = more.pop("subjects", None) or TinySet()
    asked = {"watch": watch} if watch else {}
    return train(subjects, out, config or hard(), TinyEncoder(), Accelerator(), **asked, **more)


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots take a second each; one test looks at one."""
    if "looking" not in request.node.name:
        monkeypatch.setattr(curves, "plot", lambda *_: None)


class Killed(Exception):
    pass


def killed_at(step: int) -> Callable[[Watched], None]:
    def watch(watched: Watched) -> None:
        if watched.step.step == step:
            raise Killed

    return watch


def everything(trainer: Trainer) -> list[Any]:
    return [
        trainer.model.state_dict(),
        trainer.ema.average.state_dict(),
        trainer.optimiser.state_dict(),
        trainer.done,
    ]


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def without_times(out: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in read_log(out / "log.jsonl")]


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_it_learns_a_subject_by_heart(optimiser: str) -> None:
    trainer = Trainer(TinySet((5,)), tiny_config(batch=1, optimiser=optimiser), TinyEncoder(), Accelerator())
    losses = [trainer.step().loss for _ in range(60)]
    assert losses[0] > 2.5
    assert losses[-1] < 0.3


@pytest.mark.parametrize(("killed", "optimiser"), [(1, "adamw"), (5, "adamw"), (3, "muon")])
def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path, killed: int, optimiser: str) -> None:
    config = hard(optimiser=optimiser)
    whole = trained(tmp_path / "whole", config=config)
    with pytest.raises(Killed):
        trained(tmp_path / "cut", config=config, watch=killed_at(killed))
    again = trained(tmp_path / "cut", config=config)
    assert equal(everything(again), everything(whole))
    assert (tmp_path / "cut" / WEIGHTS).exists()
    assert without_times(tmp_path / "cut") == without_times(tmp_path / "whole")
    assert [line["step"] for line in read_log(tmp_path / "cut" / "log.jsonl")] == [1, 2, 3, 4, 5, 6]


def test_an_interrupted_run_saves_the_step_it_is_in_and_says_stop(tmp_path: Path) -> None:
    interrupt = Interrupt()

    def ask(watched: Watched) -> None:
        interrupt.asked = watched.step.step == 2

    with pytest.raises(Stop):
        trained(tmp_path / "cut", hard(save_every=100), ask, interrupt=interrupt)
    assert torch.load(tmp_path / "cut" / STATE, weights_only=True)["step"] == 3
    assert equal(everything(trained(tmp_path / "cut", hard())), everything(trained(tmp_path / "whole", hard())))


def test_what_is_written_are_the_averaged_weights_with_where_they_come_from(tmp_path: Path) -> None:
    trainer = trained(tmp_path)
    loaded = load_checkpoint(tmp_path / WEIGHTS)
    assert equal(dict(loaded.model.state_dict()), dict(trainer.ema.average.state_dict()))
    assert not equal(dict(loaded.model.state_dict()), dict(trainer.model.state_dict()))
    assert loaded.tokenizer == TinySet().tokenizer
    assert loaded.rig == faces_digest(TinySet().faces)
    assert {key: loaded.extra[key] for key in ("steps", "data", "people")} == {"steps": 6, "data": "tiny", "people": 3}
    assert (loaded.extra["points"], loaded.fewest, loaded.least) == ([9, 14], 9, 5)
    assert loaded.marks == {"000": {}, "001": {}, "002": {}}
    assert loaded.misfit(TinyEncoder()) is None
    other = TinyEncoder()
    other.fingerprint = "another"
    assert loaded.misfit(other) == (
        "the image encoder (another) gives 4 x 3 tokens, and the checkpoint was trained with 4 x 3 of tiny"
    )


def test_curves_are_there_for_reading_and_looking_at(tmp_path: Path) -> None:
    trained(tmp_path)
    lines = read_log(tmp_path / "log.jsonl")
    assert {"loss", "entropy", "gradient", "rate", "tokens", "clamped", "seconds"} < lines[0].keys()
    assert lines[0]["entropy"].keys() <= {"x", "y", "z", "binding", "end", "all"}
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert json.loads((tmp_path / "config.json").read_text())["train"]["steps"] == 6


def test_the_smoothed_loss_is_told_beside_the_plain_one() -> None:
    made = Trainer(TinySet(), tiny_config(smooth=2.0), TinyEncoder(), Accelerator()).step()
    plain = Trainer(TinySet(), tiny_config(), TinyEncoder(), Accelerator()).step()
    assert made.entropy == plain.entropy
    assert plain.loss == pytest.approx(plain.entropy["all"], rel=1e-6)
    assert made.loss != pytest.approx(plain.loss, rel=1e-4)


def test_recomputing_layers_trains_the_same() -> None:
    found = []
    for again in (False, True):
        trainer = Trainer(TinySet(), hard(checkpointing=again), TinyEncoder(), Accelerator())
        for _ in range(3):
            trainer.step()
        found.append(everything(trainer))
    assert equal(*found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": hard(rate=0.02)}, r"train.rate is 0.01 there and 0.02 here"),
        ({"config": hard(steps=9)}, r"train.steps is 6 there and 9 here"),
        ({"subjects": TinySet(digest="other")}, r"data is 'tiny' there and 'other' here"),
    ],
)
def test_training_on_something_else_is_refused_by_name(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    trained(tmp_path)
    before = (tmp_path / STATE).read_bytes()
    with pytest.raises(DataError, match=rf"holds another training:\n  {message}\nGo on"):
        trained(tmp_path, **change)
    assert (tmp_path / STATE).read_bytes() == before


def test_how_often_it_saves_may_change_and_how_long_it_trains_where_the_rate_stays(tmp_path: Path) -> None:
    trained(tmp_path, tiny_config())
    longer = trained(tmp_path, tiny_config(steps=9, save_every=5, evaluate_every=3))
    assert longer.done == 9
    assert equal(everything(longer), everything(trained(tmp_path / "whole", tiny_config(steps=9))))


def test_a_finished_training_writes_nothing(tmp_path: Path) -> None:
    trained(tmp_path)
    before = {
        path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".pt", ".safetensors", ".jsonl")
    }
    trained(tmp_path, watch=killed_at(1))
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"words"])
def test_a_damaged_state_is_named(tmp_path: Path, content: bytes) -> None:
    trained(tmp_path)
    (tmp_path / STATE).write_bytes(content)
    with pytest.raises(DataError, match=r"state.pt cannot be read .*Remove it and train again"):
        trained(tmp_path)


def test_a_state_of_another_version_or_of_something_else_is_named(tmp_path: Path) -> None:
    trained(tmp_path)
    whole = torch.load(tmp_path / STATE, weights_only=True)
    for changes, message in (
        ({"format": state.FORMAT + 1}, "was written by another version"),
        ({"model": {}}, "is no state of this training"),
        ({"step": "many"}, "is no state of this training"),
    ):
        torch.save(whole | changes, tmp_path / STATE)
        with pytest.raises(DataError, match=message):
            trained(tmp_path)


def test_a_log_that_is_no_log_is_named_and_half_a_last_line_is_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"step": 1}\n{"st')
    assert read_log(log) == [{"step": 1}]
    log.write_text('{"step": 1}\nwords\n{"step": 2}\n')
    with pytest.raises(DataError, match=r"log.jsonl: line 2 is no JSON object"):
        read_log(log)


def test_a_loss_that_is_no_number_stops_before_the_weights_are_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Trainer.step

    def poisoned(self: Trainer, *args: Any) -> Any:
        if self.done == 4:
            with torch.no_grad():
                self.model.transformer.to_logits.weight[3] = math.nan
        return sound(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", poisoned)
        with pytest.raises(Diverged, match=r"step 5: the loss is nan .* lower train.rate"):
            trained(tmp_path)
    kept = torch.load(tmp_path / STATE, weights_only=True)
    assert kept["step"] == 4
    assert all(bool(torch.isfinite(value).all()) for value in kept["model"].values() if value.is_floating_point())
    assert trained(tmp_path).done == 6


def test_a_full_disk_is_our_error_and_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = run.write_state

    def full(path: Path, trainer: Trainer, *args: Any) -> None:
        if trainer.done == 4:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        sound(path, trainer, *args)

    monkeypatch.setattr(run, "write_state", full)
    with pytest.raises(DataError, match=r"state.pt cannot be written \(No space left on device\): free some space"):
        trained(tmp_path)
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 2


class Two(Accelerator):
    """One process that says it is the first of two."""

    num_processes = property(lambda self: 2)  # type: ignore[assignment]


def test_dropout_goes_on_with_the_number_of_processes_it_was_begun_with(tmp_path: Path) -> None:
    trained(tmp_path, hard(steps=1))
    with pytest.raises(DataError, match=r"number of processes is '1' there and '2' here"):
        train(TinySet(), tmp_path, hard(steps=1), TinyEncoder(), Two())
    whole = torch.load(tmp_path / STATE, weights_only=True)
    del whole["origin"][state.PROCESSES]  # as states were written before
    torch.save(whole, tmp_path / STATE)
    assert trained(tmp_path, hard(steps=1)).done == 1


def test_without_dropout_the_number_of_processes_may_change(tmp_path: Path) -> None:
    trained(tmp_path, tiny_config(steps=1))
    train(TinySet(), tmp_path, tiny_config(steps=1), TinyEncoder(), Two())


def judge(calls: list[int], out: Path, killed: int = 0) -> Any:
    """An evaluation that notes the step that is saved when it is asked."""

    def evaluation(*_: Any) -> dict[str, Any]:
        calls.append(torch.load(out / STATE, weights_only=True)["step"])
        if calls[-1] == killed:
            raise Killed
        return {"entropy": {"all": 1.0 / calls[-1]}, "accuracy": {}}

    return evaluation


def test_a_state_is_saved_before_its_step_is_evaluated(tmp_path: Path) -> None:
    calls: list[int] = []
    config = tiny_config(steps=5, save_every=100, evaluate_every=2)
    with pytest.raises(Killed):
        trained(tmp_path, config, evaluation=judge(calls, tmp_path, killed=4))
    assert calls == [2, 4]
    again: list[int] = []
    told: list[tuple[int, bool]] = []

    def watch(watched: Watched) -> None:
        told.append((watched.step.step, watched.held_out is not None))

    trained(tmp_path, config, watch, evaluation=judge(again, tmp_path))
    assert again == [4, 5]  # what was killed is made up
    assert told == [(4, True), (5, True)]
    lines = read_log(tmp_path / "log.jsonl")
    assert [(line["step"], "held_out" in line) for line in lines] == [
        (1, False), (2, True), (3, False), (4, True), (5, True),
    ]  # fmt: skip
    trained(tmp_path, config, watch=killed_at(5), evaluation=judge([], tmp_path))  # finished: not judged again


def test_an_interrupted_run_does_not_wait_for_its_evaluation(tmp_path: Path) -> None:
    calls: list[int] = []
    interrupt = Interrupt()
    interrupt.asked = True
    config = tiny_config(steps=2, evaluate_every=1)
    with pytest.raises(Stop):
        trained(tmp_path, config, evaluation=judge(calls, tmp_path), interrupt=interrupt)
    assert calls == []
    assert torch.load(tmp_path / STATE, weights_only=True)["step"] == 1
    trained(tmp_path, config, evaluation=judge(calls, tmp_path))
    assert calls == [1, 2]
    assert ["held_out" in line for line in read_log(tmp_path / "log.jsonl")] == [True, True]


def test_importing_the_trainer_warns_of_nothing(tmp_path: Path) -> None:
    code = "import avatarbench.methods.pointillist.training.trainer"
    done = call([sys.executable, "-W", "error:`torch.jit.script`:FutureWarning", "-c", code], tmp_path)
    assert done.returncode == 0, done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name[0] != "."}


def test_weights_without_a_state_are_not_trained_over(tmp_path: Path) -> None:
    trained(tmp_path)
    (tmp_path / STATE).unlink()
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"holds weights of 6 steps but no state.pt to go on from.*another --out"):
        trained(tmp_path)
    assert contents(tmp_path) == before
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(UsageError, match=r"holds the log of a training but no state.pt"):
        trained(tmp_path)


def test_a_folder_of_something_else_is_not_trained_in(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match=r"is not empty and no training \(letter.txt\): choose another --out"):
        trained(tmp_path)
    assert contents(tmp_path) == {"letter.txt": b"dear"}


def test_a_run_that_was_killed_before_its_first_state_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run, "write_state", killed)
        with pytest.raises(Killed):
            trained(tmp_path)
    assert contents(tmp_path).keys() == {WEIGHTS}
    assert trained(tmp_path).done == 6


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    refused = []

    def watch(watched: Watched) -> None:
        if watched.step.step == 3:
            with pytest.raises(UsageError, match=r"another process is training in .*: wait for it"):
                trained(tmp_path)
            refused.append(watched.step.step)

    trained(tmp_path, watch=watch)
    assert refused == [3]
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert trained(tmp_path).done == 6  # the lock is given back


def test_a_place_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written .* choose another --out"):
        trained(tmp_path / "file" / "out", watch=killed_at(1))


def test_more_processes_than_windows_are_refused() -> None:
    class Many:
        num_processes = 3
        device = torch.device("cpu")

    with pytest.raises(UsageError, match=r"3 processes share 2 windows a step \(train.batch\)"):
        Trainer(TinySet(), tiny_config(), TinyEncoder(), Many())  # type: ignore[arg-type]


def test_the_rate_rises_then_falls_along_a_cosine_or_stays() -> None:
    falling = Train(steps=110, warmup=10, rate=1.0, decay="cosine")
    assert [rate_at(step, falling) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate_at(10, falling) == 1.0
    assert rate_at(60, falling) == pytest.approx(0.5)
    assert rate_at(109, falling) == pytest.approx(0.5 * (1 + math.cos(math.pi * 0.99)))
    assert {rate_at(step, Train(rate=0.3)) for step in (0, 5, 10_000)} == {0.3}
    late = Train(steps=100, rate=1.0, decay="late", late=20)
    assert [rate_at(step, late) for step in (0, 79, 80, 90, 99)] == pytest.approx([1, 1, 1, 0.5, 0.05])


def test_muon_has_the_matrices_between_embeddings_and_output() -> None:
    trainer = Trainer(TinySet(), tiny_config(optimiser="muon", muon=3.0), TinyEncoder(), Accelerator())
    assert isinstance(trainer.optimiser, Both)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    muon, adamw = (
        {names[id(p)] for group in part.param_groups for p in group["params"]} for part in trainer.optimiser.parts
    )
    assert muon | adamw == set(names.values())
    assert not muon & adamw
    assert all(".layers." in name or name.startswith("surface.") for name in muon)
    assert {"transformer.to_logits.weight", "surface_projection.weight", "image.project.weight"} <= adamw
    step = trainer.step()
    rates = {group["lr"] for group in trainer.optimiser.param_groups}
    assert rates == {step.rate, 3 * step.rate}


def test_the_state_of_another_optimiser_is_refused(tmp_path: Path) -> None:
    trained(tmp_path, config=tiny_config())
    with pytest.raises(DataError, match=r"train\.optimiser is 'adamw' there and 'muon' here"):
        trained(tmp_path, config=tiny_config(optimiser="muon"))


def test_matrices_alone_decay() -> None:
    model = Trainer(TinySet(), tiny_config(), TinyEncoder(), Accelerator()).model
    matrices, rest = groups(model, 0.1)
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, kept = ([names[id(p)] for p in group["params"]] for group in (matrices, rest))  # type: ignore[attr-defined]
    assert len(decayed) + len(kept) == len(names)
    assert (matrices["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert all(name.endswith("weight") for name in decayed)
    assert "transformer.to_logits.weight" in decayed
    for part in ("token_emb", "slot_embed", "latents", "places", "norm", "bias"):
        assert any(part in name for name in kept), part
        assert not any(part in name for name in decayed), part
    assert all(p.ndim == 1 for name, p in model.named_parameters() if name.endswith(".g"))  # x-transformers' norms
    assert all(model.get_parameter(name).ndim == 2 for name in decayed)


def test_the_average_forgets_the_start_and_then_keeps_its_share() -> None:
    model, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    ema = Ema(model, average, 0.5)
    values = []
    for step in range(12):
        model.weight.data.fill_(1.0)
        ema.update(step)
        values.append(float(average.weight))
    assert values[0] == pytest.approx(0.9)  # (1 + 0) / (10 + 0) of the start are kept
    expected = 0.0
    for step in range(12):
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep)
    assert values[-1] == pytest.approx(expected, abs=1e-6)
    assert not average.weight.requires_grad
