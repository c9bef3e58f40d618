"""Clouds for the decoder: the same however often interrupted, of one stage one alone, and read back as they were."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from typer.testing import CliRunner

from avatarbench.cli import app
from avatarbench.errors import DataError, UsageError
from avatarbench.heads.rig import faces_digest
from avatarbench.methods.pointillist import checkpoint, images
from avatarbench.methods.pointillist.checkpoint import ENCODER, MARKS, RIG, Loaded
from avatarbench.methods.pointillist.conditioning import mesh_condition
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.decoder import clouds_build
from avatarbench.methods.pointillist.decoder.clouds import MANIFEST, SETTINGS, Clouds
from avatarbench.methods.pointillist.decoder.clouds_build import Built, build_clouds, spread
from avatarbench.methods.pointillist.decoder.open import _check_pair
from avatarbench.methods.pointillist.engine import Engine
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.training.seeds import seed_of
from avatarbench.methods.pointillist.training_set import TrainingSet
from tests.pointillist_tiny import TinyEncoder, TinySet, tiny_config, write_set


def loaded(subjects: TinySet, seed: int = 0, points: int = 400) -> Loaded:
    """Weights that were drawn: they end a cloud after some thirty points."""
    values = tiny_config().model_dump() | {"generate": {"points": points}}
    config = Config.model_validate(values)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = StageOne(config, (4, 3)).eval()
    return Loaded(model, config, subjects.tokenizer, (4, 3), f"drawn {seed}", {RIG: faces_digest(subjects.faces)})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"), TinySet())


def built(data: Path, out: Path, weights: Loaded | None = None, **more: Any) -> Built:
    return build_clouds(TrainingSet(data), weights or loaded(TinySet()), TinyEncoder(), out, **more)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clouds")
    made = built(data, out)
    assert (made.clouds, made.made, made.left) == (6, 6, {})
    return out


def test_a_cloud_is_what_stage_one_draws_of_the_portrait_alone(data: Path, finished: Path) -> None:
    subjects, weights, clouds = TrainingSet(data), loaded(TinySet()), Clouds(finished)
    assert clouds.portraits == dict.fromkeys(("000", "001", "002"), (0, 1))
    assert (clouds.data, clouds.fingerprint, clouds.width) == (subjects.digest, "drawn 0", 32)
    drawn, portrait = clouds.drawn("001", 1), subjects.portraits("001")[1]
    seed = seed_of(0, "cloud", "001", 1)
    condition = mesh_condition(
        portrait.image,
        portrait.vertices,
        subjects.faces,
        weights.config,
        subjects.tokenizer,
        TinyEncoder(),
        seed,  # type: ignore[arg-type]
    )
    context = weights.model.condition(condition.image_tokens[None], condition.samples[None])
    (alone,) = Engine(weights.model).generate(context, weights.config.generate, [seed])
    points = subjects.tokenizer.decode(alone.tokens)
    assert torch.equal(drawn.points.positions, points.positions)
    assert torch.equal(drawn.points.bindings, points.bindings)
    torch.testing.assert_close(drawn.states.flatten(0, 1), alone.states, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(drawn.image, condition.image_tokens, atol=1e-3, rtol=1e-3)
    assert torch.equal(drawn.vertices, portrait.vertices)
    assert torch.equal(drawn.shape, subjects.tracking("001")["shape"][1])


class Killed(Exception):
    pass


def test_what_is_interrupted_goes_on_with_the_clouds_that_are_missing(
    data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds_build, "BATCH", 2)  # others beside it change nothing of a cloud

    def killed(told: clouds_build.Told) -> None:
        if told.done == 4:
            raise Killed

    with pytest.raises(Killed):
        built(data, tmp_path, watch=killed)
    assert not (tmp_path / MANIFEST).exists()
    assert len(list(tmp_path.rglob("*.safetensors"))) == 4
    with pytest.raises(DataError, match=r"there are no finished clouds. Make or finish them with"):
        Clouds(tmp_path)
    assert built(data, tmp_path).made == 2
    assert contents(tmp_path) == contents(finished)
    assert built(data, tmp_path, watch=killed).made == 0


def test_fewer_portraits_begin_with_the_persons_own(data: Path, finished: Path, tmp_path: Path) -> None:
    assert built(data, tmp_path, portraits=1).clouds == 3
    few = Clouds(tmp_path)
    assert few.portraits == dict.fromkeys(("000", "001", "002"), (0,))
    assert torch.equal(few.drawn("002", 0).states, Clouds(finished).drawn("002", 0).states)
    assert built(data, tmp_path, portraits=4).made == 3
    assert contents(tmp_path) == contents(finished)
    with pytest.raises(
        UsageError, match=r"was made with --portraits 4, and 1 would leave finished clouds out: give 4 "
    ):
        built(data, tmp_path, portraits=1)
    assert contents(tmp_path) == contents(finished)


@given(st.integers(1, 30), st.integers(1, 30))
def test_more_portraits_keep_what_fewer_chose(count: int, most: int) -> None:
    found = spread(count, most)
    assert found[0] == 0
    assert len(set(found)) == len(found) == min(count, most)
    assert set(found) <= set(range(count))
    assert spread(count, most + 1)[: len(found)] == found
    assert spread(17, 5) == [0, 16, 8, 4, 12]


def test_the_folder_says_how_its_clouds_were_drawn_and_whom_stage_one_knows(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    weights = loaded(TinySet())
    told = Clouds(finished)
    assert told.known is None
    assert told.sampling == {
        "generate": weights.config.generate.model_dump(mode="json"), "precision": "float32", "encoder": "tiny",
    }  # fmt: skip
    marks = {"000": {"cloud": "1", "identity": "2"}}
    built(data, tmp_path, weights._replace(extra=weights.extra | {MARKS: marks, "data": "d"}), portraits=1)
    assert Clouds(tmp_path).known == marks
    assert built(data, tmp_path, weights, portraits=1).made == 0  # of the same weights, whatever they say


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"weights": loaded(TinySet(), 1)}, r"checkpoint is 'drawn 0' there and 'drawn 1' here"),
        ({"seed": 3}, r"seed is 0 there and 3 here"),
        (
            {"options": loaded(TinySet()).config.generate.model_copy(update={"top_p": 0.5})},
            r"generate.top_p is 1.0 the",
        ),
    ],
)
def test_a_folder_of_other_settings_is_refused(data: Path, finished: Path, more: dict[str, Any], message: str) -> None:
    before = contents(finished)
    with pytest.raises(UsageError, match=rf"was begun with other settings:\n  {message}(.|\n)*Choose another --out"):
        built(data, finished, **more)
    assert contents(finished) == before


def _aged(finished: Path, to: Path) -> Path:
    """As an earlier version wrote it, which knew fewer ways of drawing."""
    root = _copy(finished, to)
    for name in (SETTINGS, MANIFEST):
        found = json.loads((root / name).read_text())
        drawn = found.get("settings", found)["generate"]
        del drawn["consensus"], drawn["spacing"]
        (root / name).write_text(json.dumps(found))
    return root


def test_a_folder_from_before_a_way_of_drawing_goes_on_and_stays_what_it_is(
    data: Path, finished: Path, tmp_path: Path
) -> None:
    root = _aged(finished, tmp_path)
    before = contents(root)
    assert built(data, root).made == 0
    assert contents(root) == before
    (root / "001" / "cloud-00.safetensors").unlink()
    assert built(data, root).made == 1
    assert {name: json.loads(content) for name, content in contents(root).items() if name.endswith("json")} == {
        name: json.loads(content) for name, content in before.items() if name.endswith("json")
    }
    several = loaded(TinySet()).config.generate.model_copy(update={"consensus": 2})
    with pytest.raises(UsageError, match=r"generate.consensus is 1 there and 2 here"):
        built(data, root, options=several)


def test_clouds_drawn_alike_belong_together_whichever_version_drew_them(finished: Path, tmp_path: Path) -> None:
    def side(clouds: Clouds) -> Any:
        return SimpleNamespace(subjects=TinySet(), clouds=clouds)

    old, new = Clouds(_aged(finished, tmp_path)), Clouds(finished)
    _check_pair(TinySet(), new, side(old))
    _check_pair(TinySet(), old, side(new))
    new.sampling = {**new.sampling, "generate": {**new.sampling["generate"], "consensus": 6}}
    with pytest.raises(DataError, match=r"was not drawn as .*:\n  generate.consensus is 1 there and 6 here\nGenerate"):
        _check_pair(TinySet(), new, side(old))


def test_a_consensus_is_told_of_all_its_draws_at_one_pace(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clouds_build, "BATCH", 2)
    monkeypatch.setattr(clouds_build.time, "monotonic", iter(range(100_000)).__next__)
    options = loaded(TinySet()).config.generate.model_copy(update={"consensus": 3})
    told: list[clouds_build.Told] = []
    built(data, tmp_path, options=options, watch=told.append)

    points = [round(one.rate * (second + 1)) for second, one in enumerate(told)]  # a second a call
    assert points == sorted(points)
    assert [one.done for one in told if not one.points] == [2, 4, 6]
    assert points[-1] > 2 * sum(len(Clouds(tmp_path).drawn(*key).points.bindings) for key in Clouds(tmp_path)._files)


def test_the_command_draws_as_it_is_told(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "load_checkpoint", lambda *_: loaded(TinySet()))
    monkeypatch.setattr(images, "load_encoder", lambda *_: TinyEncoder())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    weights, out = tmp_path / "ar.safetensors", tmp_path / "clouds"
    asked = ["--data", data, "--checkpoint", weights, "--out", out, "--portraits", 1, "--device", "cpu"]
    done = CliRunner().invoke(app, ["train", "pointillist", "clouds", *map(str, asked), "--consensus", "2"])
    assert done.exit_code == 0, done.output
    assert "3 clouds of 3 people" in done.output
    assert Clouds(out).sampling["generate"]["consensus"] == 2


def test_a_folder_of_something_else_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="is not empty and holds no clouds"):
        built(data, tmp_path)
    with pytest.raises(UsageError, match="is a file"):
        built(data, tmp_path / "letter.txt")


def test_a_checkpoint_of_another_rig_or_cube_is_refused(data: Path, tmp_path: Path) -> None:
    weights = loaded(TinySet())
    with pytest.raises(DataError, match=r"is of another image encoder than"):
        built(data, tmp_path / "out", weights._replace(extra={ENCODER: "another"}))
    other = weights._replace(extra={RIG: "another"}, image_tokens=(9, 9))
    with pytest.raises(
        DataError, match=r"\(drawn 0\) is of another rig and image encoder than .*: name the checkpoint"
    ):
        built(data, tmp_path / "out", other)
    assert not (tmp_path / "out").exists()


def test_clouds_that_reach_the_bound_are_kept_counted_and_not_learnt_from(data: Path, tmp_path: Path) -> None:
    made = built(data, tmp_path, loaded(TinySet(), points=3))
    assert made.left == {"bound": 6}
    assert made.points == []
    clouds = Clouds(tmp_path)
    assert clouds.portraits["000"] == ()
    assert clouds.left["000"] == {0: "bound", 1: "bound"}
    assert len(load_file(tmp_path / "000" / "cloud-00.safetensors")["tokens"]) == 4 * 5


def test_states_beyond_half_precision_are_no_features() -> None:
    with pytest.raises(DataError, match="not finite or too large for half precision"):
        clouds_build._half(torch.tensor([1e6]), Path("cloud"))


def _copy(finished: Path, to: Path) -> Path:
    for name, content in contents(finished).items():
        (to / name).parent.mkdir(exist_ok=True, parents=True)
        (to / name).write_bytes(content)
    return to


def test_a_changed_missing_or_foreign_file_is_named(finished: Path, tmp_path: Path) -> None:
    root = _copy(finished, tmp_path)
    file = root / "000" / "cloud-01.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    with pytest.raises(DataError, match=r"cloud-01.safetensors is not what manifest.json says"):
        Clouds(root).drawn("000", 1)
    file.unlink()
    with pytest.raises(DataError, match=r"cloud-01.safetensors does not exist: manifest.json lists it"):
        Clouds(root).drawn("000", 1)
    with pytest.raises(DataError, match=r"has no cloud of portrait 7 of '000'"):
        Clouds(root).drawn("000", 7)
    manifest = json.loads((root / MANIFEST).read_text())
    manifest["people"]["001"][0]["file"] = "../secret.safetensors"
    (root / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"names '../secret.safetensors', which is not in the folder"):
        Clouds(root).drawn("001", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, r"was written by another version of avatarbench \(format 2"),
        ({"settings": {}}, "is no manifest of generated clouds"),
        ({"people": 5}, "is no manifest of generated clouds"),
    ],
)
def test_a_manifest_of_something_else_is_named(
    finished: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    root = _copy(finished, tmp_path)
    (root / MANIFEST).write_text(json.dumps(json.loads((root / MANIFEST).read_text()) | change))
    with pytest.raises(DataError, match=message):
        Clouds(root)


def test_what_is_kept_in_memory_is_bounded(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clouds = Clouds(finished)
    first = clouds.drawn("000", 0)
    assert clouds.drawn("000", 0) is first
    clouds._room = 0
    clouds.drawn("000", 1)
    again = clouds.drawn("000", 0)
    assert again is not first
    assert np.array_equal(again.states.numpy(), first.states.numpy())
