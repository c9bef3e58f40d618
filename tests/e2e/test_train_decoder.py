"""``avatarbench train pointillist clouds`` and ``decoder`` as a user runs them: interrupted, continued, refused; and
training on two processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner, Result

from avatarbench import assets
from avatarbench.cli import app
from avatarbench.datasets.openheads import embedded_split
from avatarbench.errors import AvatarbenchError
from avatarbench.heads.anny import load_anny
from avatarbench.heads.rig import faces_digest
from avatarbench.methods.pointillist.checkpoint import RIG, load_checkpoint, save_checkpoint
from avatarbench.methods.pointillist.config import Config
from avatarbench.methods.pointillist.decoder.checkpoint import check_pair, load_decoder
from avatarbench.methods.pointillist.decoder.trainer import Trainer
from avatarbench.methods.pointillist.stage_one import StageOne
from avatarbench.methods.pointillist.tokenizer import Cube, Points, Tokenizer, Vocabulary, to_sequence
from avatarbench.methods.pointillist.training.curves import read_log
from avatarbench.openheads.identity import Identity
from tests.conftest import ROOT, call
from tests.pointillist_tiny import TinySet, tiny_config, write_set

Here = Callable[..., tuple[int, str]]
SMALL = ("width=16", "blocks=2", "heads=2", "bands=2", "start.scale=0.02", "train.size=32", "train.batch=2")
SMALL += ("train.views=2", "train.steps=4", "train.weights.lpips=0", "train.evaluate_every=4", "train.save_every=100")


class Heads(TinySet):
    """People of the test split on the whole rig, which to decimate would take seconds; their clouds are a few corners
    of it."""

    def __init__(self, *people: str) -> None:
        rig = load_anny()
        self.faces, self.mirror = rig.faces, torch.arange(len(rig.faces))
        self.people, self.config = people, {"rig": "anny", "fit": "none", "fit_config": {"faces": None}}
        self._rest = {}
        for person in people:
            content = (embedded_split() / person / "identity.json").read_text(encoding="utf-8")
            identity = Identity.from_json(json.loads(content))
            shape = rig.shape(identity.phenotypes, identity.local_changes)
            with torch.no_grad():
                self._rest[person] = rig.rest(shape, torch.zeros(1, 0))[0][0]
        cube = Cube.around([to_sequence(rig.template, "z")], 0.3)
        self.tokenizer = Tokenizer(Vocabulary(32, len(rig.faces)), cube, "z")

    def rest(self, person: str) -> Tensor:
        return self._rest[person]

    def cloud(self, person: str) -> Points:
        faces = torch.arange(0, len(self.faces), len(self.faces) // 14)
        return Points(self.rest(person)[self.faces[faces]].mean(1), faces)


def stage_one(path: Path, subjects: Heads, seed: int) -> Path:
    """Weights that were drawn: they end a cloud after some thirty points."""
    values = tiny_config().model_dump() | {"faces": len(subjects.faces), "generate": {"points": 400}}
    config = Config.model_validate(values | {"image": {"encoder": "vgg16", "size": 32}})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = StageOne(config, (4, 512))
    save_checkpoint(path, model, config, subjects.tokenizer, (4, 512), {RIG: faces_digest(subjects.faces)})
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assets.pull("lpips-vgg16")
    root = tmp_path_factory.mktemp("sets")
    subjects = Heads("501", "502")
    write_set(root / "set", subjects)
    write_set(root / "others", Heads("503"))
    stage_one(root / "ar.safetensors", subjects, 0)
    return root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """The command line in this process, where no new one has to import torch; errors as the real one prints them."""
    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str | Path) -> tuple[int, str]:
        done: Result = CliRunner().invoke(app, ["train", "pointillist", *map(str, arguments)])
        if done.exception is None or isinstance(done.exception, SystemExit):
            return done.exit_code, done.output
        assert isinstance(done.exception, AvatarbenchError), done.exception
        return done.exception.exit_code, str(done.exception)

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_from_a_set_to_a_decoder_interrupted_on_the_way(
    data: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_stage_one = ("--checkpoint", data / "ar.safetensors")
    code, said = here("clouds", "--data", data / "set", "--out", "clouds", *with_stage_one)
    assert (code, said.splitlines()[-1].startswith("clouds: 4 clouds of 2 people, 4 of them made now, ")) == (0, True)
    assert here("clouds", "--data", data / "others", "--out", "others", "--portraits", "1", *with_stage_one)[0] == 0

    command = ["decoder", "--data", data / "set", "--clouds", "clouds", "--views", embedded_split(), "--out", "run"]
    command += ["--eval", data / "others", "--eval-clouds", "others", "--eval-views", embedded_split(), *SMALL]
    sound = Trainer.step

    def interrupted(self: Trainer, *args: Any) -> Any:
        if self.done == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return sound(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        code, said = here(*command)
    assert code == 130
    assert "stopped; the same command goes on from the last state that was saved" in said
    assert len(read_log(Path("run/log.jsonl"))) == 2
    code, said = here(*command)
    assert (code, said.splitlines()[-1]) == (0, "run: 4 steps are trained; the weights are run/decoder.safetensors.")
    assert "step 4, held out: loss " in said
    assert ["held_out" in line for line in read_log(Path("run/log.jsonl"))] == [False, False, False, True]
    assert Path("run/validation/step-000004.png").is_file()
    loaded = load_decoder(Path("run/decoder.safetensors"))
    assert (loaded.extra["steps"], loaded.image_tokens) == (4, (4, 512))
    check_pair(loaded, load_checkpoint(data / "ar.safetensors"))
    assert "is finished, and nothing was done" in here(*command)[1]

    # What does not belong together is said.
    other = stage_one(Path("other.safetensors"), Heads("501"), 1)
    said = here("clouds", "--data", data / "set", "--out", "clouds", "--checkpoint", other)[1]
    assert "clouds was begun with other settings:\n  checkpoint is '" in said
    command = ["--views", embedded_split(), "--out", "run2", *SMALL]
    code, said = here("decoder", "--data", data / "others", "--clouds", "clouds", *command)
    assert (code, "clouds holds clouds of another training set than " in said) == (1, True)
    code, said = here("decoder", "--data", data / "set", "--clouds", "clouds", *command, "--eval", data / "others")
    assert (code, said.startswith("--eval-clouds, --eval-views is missing")) == (2, True)
    code, said = here("decoder", "--data", data / "set", "--clouds", "clouds", *command, "train.ratte=1")
    assert (code, "there is no 'train.ratte', did you mean 'rate'" in said) == (2, True)
    evaluated = ["--eval", data / "set", "--eval-clouds", "clouds", "--eval-views", embedded_split()]
    code, said = here("decoder", "--data", data / "set", "--clouds", "clouds", *command, *evaluated)
    assert (code, "501, 502 are trained on too: evaluate on other people" in said) == (2, True)
    assert not Path("run2").exists()


TWO = """
import os, sys
import torch.utils.tensorboard
from pathlib import Path
from tests.decoder_tiny import TinyClouds, tiny_batches, tiny_decoder
from tests.pointillist_tiny import Others, TinySet
from avatarbench.methods.pointillist.decoder import run
from avatarbench.methods.pointillist.decoder.validation import Validation
from avatarbench.methods.pointillist.training.loop import make_accelerator

run.plot = lambda *_: None  # takes a second
out, port = Path(sys.argv[1]), sys.argv[2]
config = tiny_decoder(steps=3, batch=3, rate=1e-4, evaluate_every=3)

def trained(name):
    accelerator = make_accelerator("fp32")
    others = Others(7, 8, 9)
    judge = Validation(others, TinySet(), tiny_batches(config, TinyClouds(others)))
    run.train(tiny_batches(config), run.Origin(*"abcde"), out / name, config, accelerator, judge)

children = []
for rank in range(2):  # forked, so that torch is imported once
    children.append(os.fork())
    if not children[-1]:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2")
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        trained("two")
        os._exit(0)
trained("one")
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_two_processes_train_the_same_as_one(tmp_path: Path) -> None:
    """A batch of three, which two processes cannot share evenly."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = tmp_path / "two.py"
    script.write_text(TWO)
    environment = {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = call([sys.executable, str(script), str(tmp_path), str(port)], tmp_path, environment, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("one", "two"))
    assert one["step"] == two["step"] == 3
    for part in ("model", "average"):
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, rtol=0, atol=1e-6, msg=f"{part} {name}")
    ones, twos = (read_log(tmp_path / name / "log.jsonl") for name in ("one", "two"))
    for a, b in zip(ones, twos, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)
        assert a["gradient"] == pytest.approx(b["gradient"], rel=1e-5)
    assert ones[-1]["held_out"]["loss"] == pytest.approx(twos[-1]["held_out"]["loss"], rel=1e-5)
    assert (tmp_path / "two" / "validation" / "step-000003.png").is_file()
