"""``avatarbench train pointillist ar`` as a user runs it: interrupted, continued, refused; and on two processes."""

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
from typer.testing import CliRunner, Result

from avatarbench import assets
from avatarbench.cli import app
from avatarbench.errors import AvatarbenchError
from avatarbench.methods.pointillist.checkpoint import load_checkpoint
from avatarbench.methods.pointillist.training.curves import read_log
from avatarbench.methods.pointillist.training.trainer import Trainer
from tests.conftest import ROOT, call
from tests.pointillist_tiny import Others, TinySet, tiny_config, write_set

Here = Callable[..., tuple[int, str]]


def flat(values: dict[str, Any], start: str = "") -> list[str]:
    found: list[str] = []
    for key, value in values.items():
        found += flat(value, f"{start}{key}.") if isinstance(value, dict) else [f"{start}{key}={json.dumps(value)}"]
    return found


def overrides(**train: object) -> list[str]:
    """The tiny configuration over the mini preset."""
    values = tiny_config(ema=0.9, **train).model_dump(mode="json")
    values["image"] = {"encoder": "vgg16", "size": 32}
    values["generate"]["points"] = 14
    return flat(values)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assets.pull("lpips-vgg16")
    root = tmp_path_factory.mktemp("sets")
    write_set(root / "set", TinySet())
    write_set(root / "others", Others(7, 8))
    return root


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    """The command line in this process, where no new one has to import torch; errors as the real one prints them."""
    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str | Path) -> tuple[int, str]:
        done: Result = CliRunner().invoke(app, ["train", "pointillist", "ar", *map(str, arguments)])
        if done.exception is None or isinstance(done.exception, SystemExit):
            return done.exit_code, done.output
        assert isinstance(done.exception, AvatarbenchError), done.exception
        return done.exception.exit_code, str(done.exception)

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_interrupted_training_says_how_to_go_on_and_then_does(
    data: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--data", data / "set", "--out", "run", "--eval", data / "others", "--generate", "0"]
    command += overrides(steps=4, save_every=100, evaluate_every=4)
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
    assert (code, said.splitlines()[-1]) == (0, "run: 4 steps are trained; the weights are run/ar.safetensors.")
    assert "step 4, held out: " in said
    lines = read_log(Path("run/log.jsonl"))
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert ["held_out" in line for line in lines] == [False, False, False, True]
    loaded = load_checkpoint(Path("run/ar.safetensors"))
    assert (loaded.config.faces, loaded.image_tokens, loaded.extra["steps"]) == (8, (4, 512), 4)
    assert "is finished, and nothing was done" in here(*command)[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--preset", "minni"], 2, "there is no preset 'minni', did you mean 'mini'?"),
        (["train.ratte=1"], 2, "there is no 'train.ratte', did you mean 'rate'"),
        (["transformer.depth=0"], 2, "transformer.depth: Input should be greater than or equal to 1"),
        (["faces"], 2, "'faces' is no KEY=VALUE"),
        (
            [],
            1,
            "the set has fit=paper, levels=32, faces=8, and the configuration fit=mini-cloud, levels=1024, faces=1199: "
            "train with fit=paper levels=32 faces=8",
        ),
        ([*overrides(), "generate.points=13"], 1, "the cloud of 001 has 14 points and a model of this configuration"),
        (["--data", "nowhere"], 1, "there is no finished training set"),
    ],
)
def test_what_cannot_be_trained_is_said(data: Path, here: Here, arguments: list[str], code: int, message: str) -> None:
    found, said = here("--data", data / "set", "--out", "run", *arguments)
    assert found == code
    assert message in said
    assert not Path("run").exists()


TWO = """
import os, sys
import torch.utils.tensorboard
from pathlib import Path
from accelerate import Accelerator
from tests.pointillist_tiny import Others, TinyEncoder, TinySet, tiny_config
from avatarbench.methods.pointillist.training import curves
from avatarbench.methods.pointillist.training.evaluation import Evaluation
from avatarbench.methods.pointillist.training.run import make_accelerator, train

curves.plot = lambda *_: None  # takes a second
out, port = Path(sys.argv[1]), sys.argv[2]
config = tiny_config(steps=3, batch=3, rate=1e-4, smooth=1.0, evaluate_every=3, augment={"mirror": True, "warp": 0.004})

def trained(name):
    judge = Evaluation(Others(7, 8, 9), TinySet(), config, TinyEncoder(), 0)
    train(TinySet(), out / name, config, TinyEncoder(), make_accelerator(config.train.precision), judge)

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
    """A batch of three, which two processes cannot share evenly, of windows that are not equally long."""
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
            other = two[part][name]
            if name.endswith("key_value.bias"):
                # Keys' biases shift all scores of a query alike: their gradient is rounding alone, of which Adam makes
                # whole steps.
                value, other = value.chunk(2)[1], other.chunk(2)[1]
            torch.testing.assert_close(other, value, rtol=0, atol=1e-6, msg=f"{part} {name}")
    ones, twos = (read_log(tmp_path / name / "log.jsonl") for name in ("one", "two"))
    for a, b in zip(ones, twos, strict=True):
        assert a["tokens"] == b["tokens"]
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)
        assert a["gradient"] == pytest.approx(b["gradient"], rel=1e-5)
    assert ones[-1]["held_out"]["entropy"] == pytest.approx(twos[-1]["held_out"]["entropy"], rel=1e-5)
