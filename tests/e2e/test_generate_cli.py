"""``avatarbench generate``: portraits to clouds on disk, and what becomes of bad ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from avatarbench import registry
from avatarbench.cli import app
from avatarbench.errors import AvatarbenchError, UsageError
from avatarbench.gaussians.files import read_ply
from avatarbench.generator import Made, Request, Watch
from avatarbench.methods.pointillist import generate as module
from avatarbench.methods.pointillist.checkpoint import load_checkpoint, save_checkpoint
from avatarbench.methods.pointillist.conditioning import PortraitCondition
from avatarbench.methods.pointillist.config import Config, Generate, ImageTokens, PointTokens, Transformer, Window
from avatarbench.methods.pointillist.engine import Engine, Generated
from avatarbench.methods.pointillist.generate import generate
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import Cube, Tokenizer, Vocabulary
from tests.conftest import Cli
from tests.e2e.media import FACE

BOUND = 12
CONFIG = Config(
    preset="tiny",
    rig="anny",
    fit="mini-cloud",
    levels=64,
    faces=1199,
    image=ImageTokens(encoder="vgg16", size=224),
    points=PointTokens(samples=64, latents=4, width=16, depth=1, heads=2, bands=2),
    transformer=Transformer(width=32, depth=1, heads=2, head_width=32),
    window=Window(length=32, step=16),
    generate=Generate(points=BOUND),
)
TOKENS = (196, 512)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    tokenizer = Tokenizer(Vocabulary(64, 1199), Cube((-0.3, -0.3, -0.3), 0.6), "z")
    torch.manual_seed(0)
    save_checkpoint(path, StageOne(CONFIG, TOKENS), CONFIG, tokenizer, TOKENS, {})
    return path


def _portraits(folder: Path) -> tuple[Path, Path]:
    face, blank = folder / "face.png", folder / "blank.png"
    Image.fromarray(FACE).save(face)
    Image.fromarray(np.full((96, 96, 3), 128, np.uint8)).save(blank)
    return face, blank


@pytest.mark.slow
def test_each_portrait_becomes_a_cloud_whatever_stands_beside_it_and_one_without_a_face_is_named(
    cli: Cli, tmp_path: Path, checkpoint: Path
) -> None:
    face, blank = _portraits(tmp_path)
    twin = tmp_path / "twin.png"
    twin.write_bytes(face.read_bytes())
    done = cli("generate", face, blank, twin, "--out", "clouds", "--checkpoint", checkpoint, "--seed", "3", "--states")
    assert done.returncode == 3, done.stderr
    assert "blank.png: no face" in done.stderr
    assert "points/s" in done.stderr
    assert sorted(p.name for p in (tmp_path / "clouds").iterdir()) == [
        "face.npz", "face.ply", "twin.npz", "twin.ply",
    ]  # fmt: skip
    cloud = read_ply(tmp_path / "clouds" / "face.ply").check(CONFIG.faces)
    assert f"face.ply: {len(cloud)} points" in done.stdout
    assert 1 <= len(cloud) <= BOUND
    assert float(cloud.opacities.min()) > 0.9
    with np.load(tmp_path / "clouds" / "face.npz") as found:
        loaded = load_checkpoint(checkpoint)
        points = loaded.tokenizer.decode(torch.from_numpy(found["tokens"]))
        assert torch.equal(points.positions, cloud.means)
        assert cloud.bindings is not None
        assert torch.equal(points.bindings, cloud.bindings)
        assert found["states"].shape == (4 * len(cloud), 32)
        assert (str(found["fingerprint"]), int(found["seed"])) == (loaded.fingerprint, 3)
    assert (tmp_path / "clouds" / "twin.ply").read_bytes() == (tmp_path / "clouds" / "face.ply").read_bytes()


def _refused(*arguments: object) -> tuple[str, int]:
    result = CliRunner().invoke(app, ["generate", *map(str, arguments)])
    assert isinstance(result.exception, AvatarbenchError), result.output
    return str(result.exception), result.exception.exit_code


def test_weights_that_are_missing_or_another_file_are_named_before_any_work(tmp_path: Path) -> None:
    face, _ = _portraits(tmp_path)
    out = tmp_path / "cloud.ply"
    missing, code = _refused(face, "--out", out, "--checkpoint", tmp_path / "no.safetensors")
    assert "no.safetensors does not exist" in missing
    assert code == 1
    torch.save({"a": torch.zeros(1)}, tmp_path / "ar.pt")
    assert "pickled file" in _refused(face, "--out", out, "--checkpoint", tmp_path / "ar.pt")[0]
    assert "cannot be read as a checkpoint" in _refused(face, "--out", out, "--checkpoint", face)[0]
    assert not out.exists()


def test_what_cannot_be_asked_for_is_refused_as_usage(tmp_path: Path, checkpoint: Path) -> None:
    face, blank = _portraits(tmp_path)
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "face.jpg"
    weights = ("--checkpoint", checkpoint)
    for arguments, message in (
        ((face, blank, "--out", tmp_path / "one.ply"), "there are 2 portraits: name a folder"),
        ((face, twin, "--out", tmp_path / "clouds"), "would both be"),
        ((face, "--out", face), "is a file"),
        ((face, blank), "name a folder for their clouds with --out"),
        ((face, "--out", face / "clouds" / "cloud.ply"), "nothing can be written there"),
        ((face, "--out", face / "clouds"), "nothing can be written there"),
        ((face, "-m", "pointilist"), "did you mean 'pointillist'"),
        ((face, "--top-p", "0"), "--top-p 0.0"),
        ((face, *weights, "--device", "tpu"), "tpu"),
        ((face, *weights, "--device", "cpu", "--precision", "bf16", "--out", tmp_path), "float32 on a CPU"),
    ):
        text, code = _refused(*arguments)
        assert message in text
        assert code == 2


def test_a_seed_beyond_the_generators_is_refused_as_usage(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["generate", "a.png", "--seed", str(2**63), "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "--seed" in result.output
    with pytest.raises(UsageError, match="the seed"):
        generate(Request((tmp_path / "a.png",), (tmp_path / "a.ply",), seed=2**63), lambda *_: None)


def _untracked(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    """A condition of each portrait without its encoder and tracker, which take seconds."""
    loaded = load_checkpoint(checkpoint)
    rig = NamedFaces(torch.randint(0, 50, (CONFIG.faces, 3), generator=torch.Generator().manual_seed(0)))

    def condition(portrait: Path, *_: object, seed: int, **__: object) -> PortraitCondition:
        draw = torch.Generator().manual_seed(int(portrait.stem) + seed)
        tokens = torch.randn(*loaded.image_tokens, generator=draw)
        head = torch.rand(50, 3, generator=draw)
        return PortraitCondition(tokens, torch.rand(64, 6, generator=draw), head, FACE, ())

    class Encoder(NamedTuple):
        count: int = TOKENS[0]  # type: ignore[assignment]
        width: int = TOKENS[1]
        fingerprint: str = "drawn"

    monkeypatch.setattr(module, "load_encoder", lambda *_: Encoder())
    monkeypatch.setattr(module, "portrait_condition", condition)
    monkeypatch.setattr(module, "binding_rig", lambda *_: rig)


class NamedFaces(NamedTuple):
    faces: torch.Tensor


def _request(folder: Path, checkpoint: Path, count: int) -> Request:
    names = [f"{number}.png" for number in range(count)]
    outs = tuple((folder / name).with_suffix(".ply") for name in names)
    return Request(tuple(map(Path, names)), outs, checkpoint, device="cpu")


def test_finished_batches_are_on_disk_when_the_next_one_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path
) -> None:
    _untracked(monkeypatch, checkpoint)
    request = _request(tmp_path, checkpoint, 10)

    def stop(stage: str, done: int, total: int, words: str) -> None:
        if stage == "points" and request.outs[7].exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(request, stop)
    assert [out.exists() for out in request.outs] == [True] * 8 + [False] * 2
    before = [out.read_bytes() for out in request.outs[:8]]
    assert all(one.failure is None for one in generate(request, lambda *_: None))
    assert [out.read_bytes() for out in request.outs[:8]] == before
    assert all(out.exists() for out in request.outs)


def test_a_cloud_that_is_far_too_small_is_written_with_a_note(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path
) -> None:
    found = load_checkpoint(checkpoint)
    path, counts = tmp_path / "ar.safetensors", {"points": [1000, 1200]}
    save_checkpoint(path, found.model, found.config, found.tokenizer, found.image_tokens, counts)
    _untracked(monkeypatch, path)
    (made,) = generate(replace(_request(tmp_path, path, 1), points=900), lambda *_: None)
    (note,) = made.notes
    assert note.startswith(f"the cloud ended after {made.points} points, and the smallest that was trained on has 1000")
    assert made.files == (tmp_path / "0.ply",)


def test_a_consensus_is_drawn_where_it_is_asked_for_and_says_what_is_not_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path
) -> None:
    _untracked(monkeypatch, checkpoint)
    told: list[tuple[int, int]] = []

    def watch(stage: str, done: int, total: int, words: str) -> None:
        if stage == "points":
            told.append((done, total))

    request = replace(_request(tmp_path, checkpoint, 2), consensus=4, points=5 * BOUND)
    made = generate(request, watch)
    before = [out.read_bytes() for out in request.outs]
    assert all(total == 2 * 4 * 5 * BOUND for _, total in told)
    assert told == sorted(told)
    assert told[-1][0] > sum(one.points for one in made)
    notes = [note for one in made for note in one.notes]
    assert any(
        note.endswith("draws came to no end, or were too small, and are not in the consensus.") for note in notes
    )

    (tmp_path / "0.png").write_bytes(b"x")
    out = tmp_path / "0.ply"
    asked = [tmp_path / "0.png", "--out", out, "--checkpoint", checkpoint, "--device", "cpu", "--points", 5 * BOUND]
    for more, alike in ((["--consensus", "4"], True), ([], False)):
        done = CliRunner().invoke(app, ["generate", *map(str, asked), *more])
        assert done.exit_code == 0, done.output
        assert (out.read_bytes() == before[0]) == alike
    refused = CliRunner().invoke(app, ["generate", *map(str, asked), "--consensus", "65"])
    assert isinstance(refused.exception, UsageError)
    assert "consensus" in str(refused.exception)


def test_a_sequence_that_is_no_cloud_is_a_failure_of_its_portrait_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, checkpoint: Path
) -> None:
    _untracked(monkeypatch, checkpoint)
    drawn = Engine.generate

    def broken(self: Engine, *arguments: Any) -> list[Generated]:
        first, *others = drawn(self, *arguments)
        return [first._replace(tokens=first.tokens[:-5]), *others]

    monkeypatch.setattr(Engine, "generate", broken)
    bad, good = generate(_request(tmp_path, checkpoint, 2), lambda *_: None)
    assert bad.failure is not None
    assert "no cloud" in bad.failure
    assert bad.files == ()
    assert good.failure is None
    assert [path.name for path in tmp_path.iterdir()] == ["1.ply"]


@pytest.mark.parametrize("written", [False, True])
def test_an_interruption_says_what_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: bool) -> None:
    def interrupted(request: Request, watch: Watch) -> list[Made]:
        watch("points", 5, 10, "3 points/s")
        if written:
            request.outs[0].write_text("whole")
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "load", lambda name: interrupted)
    pictures = [tmp_path / name for name in ("a.png", "b.png")]
    for picture in pictures:
        picture.write_bytes(b"x")
    result = CliRunner().invoke(app, ["generate", *map(str, pictures), "--out", str(tmp_path)])
    assert result.exit_code == 130
    assert ("a.ply: whole" if written else "no cloud was written") in result.output
    assert "b.ply" not in result.output
