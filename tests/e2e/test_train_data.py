"""``avatarbench train pointillist data`` as a user runs it: finished, killed, continued, refused."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from typer.testing import CliRunner

from avatarbench import assets
from avatarbench.cli import app
from avatarbench.datasets.openheads import embedded_split
from avatarbench.errors import AvatarbenchError, UsageError
from avatarbench.fitting.config import load_preset
from avatarbench.fitting.fit import Progress
from avatarbench.fitting.run import fit_person
from avatarbench.heads.anny import load_anny
from avatarbench.methods.pointillist import build_crew, build_person
from avatarbench.methods.pointillist.build_crew import Built
from avatarbench.methods.pointillist.build_person import Job
from avatarbench.methods.pointillist.build_request import Request, people_of
from avatarbench.methods.pointillist.data_cli import _names
from avatarbench.methods.pointillist.presets import load_preset as load_model
from avatarbench.methods.pointillist.training_set import TrainingSet
from avatarbench.metrics.face import FaceLandmarker
from avatarbench.metrics.features import Features, Frame, Missing
from avatarbench.openheads import crew, split, studio
from tests.conftest import ROOT, call
from tests.units.openheads_fake import Inline, PaintingStudio
from tests.units.test_training_set import copied, read_once

Here = Callable[..., tuple[int, str]]
FIT = ("size=32", "faces=null", "points=60", "steps=10", "frames=2", "cameras=2", "checkpoint_every=4", "device=cpu")
FIT += ("densify.start=3", "densify.every=3", "densify.stop=8")
FACES = len(load_anny().faces)
"""The whole rig: to decimate it takes seconds."""
SMALL = (f"faces={FACES}", *(f"fit.{change}" for change in FIT))


class InProcess:
    """``build_crew.run`` in this process. ``watch``: of every fit."""

    def __init__(self) -> None:
        self.watch: Callable[[Progress], None] = lambda progress: None
        self.jobs: list[Job] = []

    def __call__(
        self, jobs: Sequence[Job], workers: int, look: Callable[[list[int]], None], then: Callable[[Built], None]
    ) -> None:
        self.jobs = list(jobs)
        for job in jobs:
            then(build_crew.attempt(job, self.watch))
            look([0] * len(jobs))


@pytest.fixture(scope="module", autouse=True)
def patched() -> Iterator[InProcess]:
    assets.pull("face-landmarker")
    found = InProcess()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_crew, "run", found)
        patch.setattr(signal, "signal", lambda *_: None)
        yield found


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people of the test split, two takes of each."""
    root = tmp_path_factory.mktemp("data") / "people"
    for person in ("501", "502"):
        copied(person, root, "PORTRAIT", "FREE", frames=1)
    return root


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, people: Path) -> tuple[Path, str]:
    """A finished set, and what the command said."""
    out = tmp_path_factory.mktemp("whole") / "set"
    code, said = invoke("--data", people, "--out", out, *SMALL)
    assert code == 0, said
    return out, said


def invoke(*arguments: str | Path) -> tuple[int, str]:
    """The command in this process, where no new one has to import torch; errors as the real one prints them."""
    done = CliRunner().invoke(app, ["train", "pointillist", "data", *map(str, arguments)], env={"COLUMNS": "250"})
    if done.exception is None or isinstance(done.exception, SystemExit):
        return done.exit_code, done.output
    assert isinstance(done.exception, AvatarbenchError), done.exception
    return done.exception.exit_code, str(done.exception)


def contents(root: Path) -> dict[str, bytes]:
    """All files of a set but what is of this machine."""
    files = (p for p in sorted(root.rglob("*")) if p.is_file() and p.name not in ("timing.json", ".lock"))
    return {str(p.relative_to(root)): p.read_bytes() for p in files}


def test_a_set_holds_clouds_portraits_and_tracking(people: Path, whole: tuple[Path, str], tmp_path: Path) -> None:
    out, said = whole
    assert "2 of 2 people, 4 portraits (0 left out), " in said
    found = TrainingSet(out)
    assert found.people == ("501", "502")
    assert found.config["rig"] == "anny"
    assert found.config["fit_config"]["steps"] == 10
    assert torch.equal(found.faces, load_anny().faces)
    assert int((found.mirror[found.mirror] == torch.arange(FACES)).sum()) > 0.9 * FACES  # Anny is all but symmetric
    fitted = fit_person(people, "502", tmp_path / "502", load_preset("mini-cloud", FIT), video=False).canonical()
    assert fitted.bindings is not None
    assert torch.equal(found.cloud("502").positions, fitted.means)
    assert torch.equal(found.cloud("502").bindings, fitted.bindings)
    for person in found.people:
        cloud = found.cloud(person)
        encoded = found.tokenizer.encode(*cloud)
        assert encoded.clamped == 0
        bin_size = found.tokenizer.cube.side / 1024
        again = found.tokenizer.decode(encoded.tokens)
        assert float(torch.cdist(cloud.positions, again.positions).amin(1).max()) < bin_size
        portraits = found.portraits(person)
        assert len(portraits) == 2
        for portrait in portraits:
            side = len(portrait.image)  # framed about the face, of a picture of 256
            assert portrait.image.shape == (side, side, 3)
            assert 200 < side < 320
            assert portrait.vertices.shape == found.rest(person).shape
            assert 0 < float((portrait.vertices - found.rest(person)).norm(dim=1).mean()) < 0.03  # it is that head
        assert f"  {person}      {len(cloud.positions)}" in said
    assert not (out / ".work").exists()


def test_a_finished_set_costs_nothing_and_changes_nothing(
    people: Path, whole: tuple[Path, str], patched: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, digest = contents(whole[0]), TrainingSet(whole[0]).digest
    monkeypatch.setattr(patched, "watch", lambda progress: pytest.fail("a step"))
    code, said = invoke("--data", people, "--out", whole[0], *SMALL)
    assert code == 0, said
    assert contents(whole[0]) == before
    assert TrainingSet(whole[0]).digest == digest


def test_whatever_stops_it_the_same_command_ends_with_the_same_bytes(
    people: Path, whole: tuple[Path, str], tmp_path: Path, patched: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("--data", people, "--out", tmp_path / "set", *SMALL)
    steps = iter(range(100))

    def interrupted(_progress: Progress) -> None:
        if next(steps) == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(patched, "watch", interrupted)
        code, said = invoke(*command)
    assert code == 130
    with pytest.raises(AvatarbenchError, match="there is no finished training set"):
        TrainingSet(tmp_path / "set")

    real, left = build_person.write_png, [1]

    def full(path: Path, image: np.ndarray) -> None:
        if not left[0]:
            raise OSError(28, "No space left on device", str(path))
        left[0] -= 1
        real(path, image)

    with monkeypatch.context() as patch:
        patch.setattr(build_person, "write_png", full)
        code, said = invoke(*command)
    assert code == 1
    assert "portrait-01.png cannot be written (No space left on device): free some space" in said
    assert (tmp_path / "set" / "501" / "cloud.safetensors").exists()  # half a person
    code, said = invoke(*command)
    assert code == 0, said
    assert contents(tmp_path / "set") == contents(whole[0])


@pytest.mark.slow
def test_a_killed_run_of_several_workers_is_finished_by_the_same_command(
    people: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    command = ["--data", str(people), "--out", str(tmp_path / "set"), *SMALL]
    running = subprocess.Popen(
        [sys.executable, "-m", "avatarbench", "train", "pointillist", "data", *command, "--workers", "2"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    workers: list[psutil.Process] = []
    until = time.monotonic() + 900
    try:
        while not any((tmp_path / "set").glob("*/person.json")):  # one of them is finished, by a process of its own
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < until, "waited in vain"
            time.sleep(0.05)
        workers = psutil.Process(running.pid).children()
    finally:
        running.kill()
        running.communicate()
    assert len(workers) >= 2
    psutil.wait_procs(workers, timeout=60)
    assert not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers)
    code, said = invoke(*command)
    assert code == 0, said
    assert contents(tmp_path / "set") == contents(whole[0])


class Blind:
    """A landmarker that finds no face in some pictures, by their numbers, and a good one in the others."""

    def __init__(self, *pictures: int) -> None:
        self.pictures, self.seen = pictures, 0

    def extract(self, frames: Sequence[Frame]) -> list[Features | Missing]:
        self.seen += 1
        return [Missing("no face found") if self.seen in self.pictures else read_once()]


def test_somebody_without_a_portrait_is_left_out_and_the_others_are_kept(
    people: Path, whole: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = Blind(1, 2, 4, 5, 6)
    monkeypatch.setattr(build_person, "landmarker", lambda: blind)
    code, said = invoke("--data", people, "--people", "502", "--out", tmp_path / "set", *SMALL)
    assert code == 1
    assert "nobody of 1 can be trained on, so there is no set. 502: no portrait of 502" in said
    code, said = invoke("--data", people, "--out", tmp_path / "set", *SMALL)
    assert code == 3
    assert "no portrait of 502 can be used (PORTRAIT/00000/222200037: no face found; FREE/" in said
    assert "501: left out FREE/" in said
    assert "1 of 2 people, 1 portraits (1 left out), " in said
    found = TrainingSet(tmp_path / "set")
    assert found.people == ("501",)
    assert len(found.portraits("501")) == 1
    assert torch.equal(found.cloud("501").positions, TrainingSet(whole[0]).cloud("501").positions)
    blind.pictures = ()
    code, said = invoke("--data", people, "--out", tmp_path / "set", *SMALL)  # the fit is kept, the portraits are read
    assert code == 0, said
    assert TrainingSet(tmp_path / "set").people == ("501", "502")


def test_another_sets_cube_moves_what_lies_outside_and_says_so(
    people: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    narrow = tmp_path / "narrow"
    shutil.copytree(whole[0], narrow)
    written = json.loads((narrow / "manifest.json").read_text())
    written["tokenizer"]["side"] /= 2
    (narrow / "manifest.json").write_text(json.dumps(written))
    out = tmp_path / "held-out"
    shutil.copytree(whole[0], out)  # its fits are what this one's would be
    (out / "manifest.json").unlink()
    code, said = invoke("--data", people, "--people", "502", "--out", out, "--tokenizer", narrow, *SMALL)
    assert code == 0, said
    found, other = TrainingSet(out), TrainingSet(narrow)
    assert found.tokenizer == other.tokenizer
    with pytest.warns(UserWarning, match="outside the data set's cube"):
        clamped = found.tokenizer.encode(*found.cloud("502")).clamped
    assert f"warning: {clamped} points lie outside the tokenizer's cube" in said
    code, said = invoke("--data", people, "--out", tmp_path / "x", "--tokenizer", whole[0], *SMALL, "levels=512")
    assert code == 2
    assert "has levels=1024, and levels=512 was asked for" in said


def test_a_cloud_of_more_points_than_can_be_generated_is_refused(people: Path, tmp_path: Path) -> None:
    code, said = invoke("--data", people, "--people", "501", "--out", tmp_path / "set", *SMALL, "generate.points=20")
    assert code == 1
    assert "points and a model of this configuration generates at most 20: give fit.points=20, or" in said


def test_other_data_damage_and_another_configuration_are_named(
    people: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    out = tmp_path / "set"
    shutil.copytree(whole[0], out)
    code, said = invoke("--data", people, "--out", out, *SMALL, "fit.steps=11")
    assert code == 1
    assert "was begun with another configuration: fit_config.steps was 10 and is 11. Choose another --out" in said
    (out / "501" / "cloud.safetensors").write_bytes(b"damaged")
    data = tmp_path / "data"
    shutil.copytree(people, data)
    truth = data / "502" / "identity.json"
    truth.write_text(truth.read_text() + "\n")
    code, said = invoke("--data", data, "--out", out, *SMALL)
    assert code == 1
    assert "501 is damaged (cloud.safetensors changed since it was written): remove it" in said
    assert "502 was made of other data (identity, truth and shape of 502 in" in said


def test_portraits_of_another_folder_of_the_same_name_are_noticed(
    people: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    out, extra = tmp_path / "set", tmp_path / "extra"
    shutil.copytree(whole[0], out)
    begun = json.loads((out / "settings.json").read_text()) | {"portraits_of": "extra"}
    (out / "settings.json").write_text(json.dumps(begun))
    shutil.copytree(people, extra)
    picture = next((extra / "501" / "sequences" / "PORTRAIT" / "images").glob("cam_*/*"))
    picture.write_bytes(picture.read_bytes() + b" ")
    record = json.loads((out / "502" / "person.json").read_text())
    record["sources"].pop("identity")  # as sets of before have it
    (out / "502" / "person.json").write_text(json.dumps(record))
    code, said = invoke("--data", people, "--out", out, "--portraits", extra, *SMALL)
    assert code == 3
    assert "501 was made of other data (portrait 501_PORTRAIT_222200037 of 501 in" in said
    assert TrainingSet(out).people == ("502",)


def test_names_can_be_left_out_and_come_from_files(tmp_path: Path) -> None:
    names = tmp_path / "held.txt"
    names.write_text("502\n\n 503\n")
    for person in ("501", "502", "503"):
        (tmp_path / "people" / person / "sequences").mkdir(parents=True)
    config = load_model("mini", [])
    request = Request(tmp_path / "people", tmp_path / "set", config, load_preset(config.fit, []))
    assert people_of(replace(request, exclude=_names(f"@{names}", "--exclude"))) == ["501"]
    assert people_of(replace(request, people=_names(f"@{names}", "--people"))) == ["502", "503"]
    assert people_of(replace(request, people=_names("503, 501", "--people"), exclude=("501",))) == ["503"]


def test_people_are_rendered_first_where_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studio, "Studio", PaintingStudio)
    monkeypatch.setattr(crew, "run", Inline())
    monkeypatch.setattr(build_person, "landmarker", Blind)
    command = ("--data", tmp_path / "people", "--openheads", "1", "--seed", "4", "--out", tmp_path / "set", *SMALL)
    views = ("views.size=24", "views.samples=4", "views.moments=1", "views.cameras=2")
    code, said = invoke(*command, *views)
    assert code == 0, said
    assert json.loads((tmp_path / "people" / "openheads.json").read_text())["seed"] == 4
    found = TrainingSet(tmp_path / "set")
    assert [p["of"].split("/")[0] for p in found.described["001"]["portraits"]][:3] == ["PORTRAIT"] * 3
    assert json.loads((tmp_path / "people" / "openheads.json").read_text())["size"] == 24
    side = len(found.portraits("001")[0].image)
    assert found.portraits("001")[0].image.shape == (side, side, 3)  # framed about the face
    for wrong, message in (
        ("views.sice=24", "there is no 'views.sice', did you mean 'size'?"),
        ("views.size=small", "views.size is 'small': give a number from 1"),
        ("views.size=32", "size is 24 there and 32 here"),
    ):
        code, said = invoke(*command, *views, wrong)
        assert (code, message in said) == (2, True), said


def test_mistakes_are_named_before_anything_is_made(
    people: Path, whole: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "make_split", lambda *_: pytest.fail("rendered"))
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "nobody.txt").write_text("\n")
    drawn = ("--data", str(tmp_path / "new"), "--openheads", "2")
    render = (*drawn, "--out", str(tmp_path / "set"), *SMALL)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    plain = ("--data", str(people), "--out", str(tmp_path / "set"))
    for arguments, code, message in (
        ((*plain, *SMALL, "--people", "501,777"), 2, "has no '777'; it has 501, 502"),
        ((*plain, *SMALL, "--preset", "medium"), 2, "there is no preset 'medium'"),
        ((*plain, *SMALL, "fit.stepps=3"), 2, "there is no 'stepps', did you mean 'steps'?"),
        ((*plain, *SMALL, "levells=3"), 2, "there is no 'levells', did you mean 'levels'?"),
        ((*plain, *SMALL, "steps"), 2, "'steps' is no KEY=VALUE"),
        ((*plain, *SMALL, "views.size=3"), 2, "views.KEY says what --openheads N renders"),
        ((*plain, *SMALL, "faces=77"), 2, f"has {FACES} faces, and the vocabulary is for faces=77: give faces={FACES}"),
        ((*plain, *SMALL, "rig=flame-teeth"), 2, "rig=flame-teeth without --tracking"),
        ((*plain, *SMALL, "--tracking", "nowhere"), 1, "--tracking nowhere is no folder"),
        ((*plain, *SMALL, "--tracking", str(people)), 2, "rig=anny with --tracking"),
        ((*plain, *SMALL, "--portrait-tracking", str(people)), 2, "is for FLAME: give --tracking too"),
        ((*plain, *SMALL, "--tokenizer", "nowhere"), 1, "there is no finished training set"),
        ((*plain, *SMALL, "--exclude", "501,777"), 2, "--exclude: "),
        ((*plain, *SMALL, "--exclude", "501,502"), 2, "--exclude names all of the 2 people"),
        ((*plain, *SMALL, "--people", "@nowhere.txt"), 2, "--people @nowhere.txt: the file cannot be read"),
        ((*plain, *SMALL, "--people", f"@{tmp_path / 'nobody.txt'}"), 2, "nobody.txt names nobody"),
        ((*render, "--people", "001,003"), 2, "has no '003'; it has 001, 002"),
        ((*render, "--exclude", "003"), 2, "has no '003'; it has 001, 002"),
        ((*render, "faces=77"), 2, "the vocabulary is for faces=77"),
        ((*render, "rig=flame-teeth"), 2, "rig=flame-teeth without --tracking"),
        ((*render, "--tracking", str(people)), 2, "--openheads renders people who need no --tracking"),
        ((*render, "--portraits", "nowhere"), 1, "--portraits nowhere is no folder"),
        ((*render, "--tokenizer", "nowhere"), 1, "there is no finished training set"),
        ((*render, "--tokenizer", str(whole[0]), "levels=512"), 2, "has levels=1024, and levels=512 was asked for"),
        ((*render, "views.sice=24"), 2, "there is no 'views.sice', did you mean 'size'?"),
        ((*drawn, "--out", str(tmp_path / "taken"), *SMALL), 2, "is a file: name a folder"),
        ((*drawn, "--out", str(tmp_path / "taken" / "set"), *SMALL), 1, "cannot be written"),
        ((*drawn, "--out", str(tmp_path / "full"), *SMALL), 2, "is not empty and no training set"),
        ((*drawn, "--out", str(tmp_path / "new"), *SMALL), 2, "--out is the folder of the people"),
        ((*drawn, "--out", str(whole[0]), *SMALL, "fit.steps=11"), 1, "begun with another configuration: fit_config"),
        (("--data", "nowhere", "--out", str(tmp_path / "set"), *SMALL), 1, "nowhere does not exist"),
        (("--data", str(tmp_path / "full"), "--out", str(tmp_path / "set"), *SMALL), 1, "holds no people"),
        (("--data", str(people), "--out", str(tmp_path / "taken"), *SMALL), 2, "is a file: name a folder"),
        (("--data", str(people), "--out", str(tmp_path / "full"), *SMALL), 2, "is not empty and no training set"),
    ):
        found, said = invoke(*arguments)
        assert (found, message in said) == (code, True), (arguments, found, said)
    assert not (tmp_path / "set").exists()
    assert not (tmp_path / "new").exists()
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["letter.txt"]


def test_help_lists_methods_and_stages_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; import avatarbench.cli as c; run = CliRunner().invoke\n"
        "print(run(c.app, ['train', '--help']).output, run(c.app, ['train', 'pointillist', '--help']).output)\n"
        "print([m for m in ('torch', 'numpy', 'avatarbench.methods.pointillist.config') if m in sys.modules])"
    )
    done = call([sys.executable, "-c", code], ROOT, columns=200)
    assert "Stages: data, ar, clouds, decoder, export, evaluate" in done.stdout, done.stderr
    assert "Fit every training person; store clouds, portraits and their tracking." in done.stdout
    assert done.stdout.strip().endswith("[]")
    for arguments, message in (
        (["train", "pointilist", "data"], "unknown trainer 'pointilist', did you mean 'pointillist'?"),
        (["train", "pointillist", "date"], "'pointillist' has no stage 'date', did you mean 'data'?"),
    ):
        with pytest.raises(UsageError, match=re.escape(message)):
            CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_shipped_split_is_not_written_to() -> None:
    assert not list(embedded_split().rglob("*.safetensors"))


def test_one_landmarker_serves_a_process() -> None:
    assert isinstance(build_person.landmarker(), FaceLandmarker)
    assert build_person.landmarker() is build_person.landmarker()
