"""Official methods: whose checkout it is and at which commit, what of it is missing, and what the record keeps."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from avatarbench.errors import UsageError
from avatarbench.isolation import bring, repository, weights
from avatarbench.isolation.official import OfficialMethod
from avatarbench.isolation.recipe import Recipe, Weight
from avatarbench.method import Motion, Portrait
from tests.standins import common

PINNED = "1234567890abcdef1234567890abcdef12345678"
OTHER = "f" * 40
SHIM = """
import numpy as np
import shim_tools

class Shim:
    def __init__(self, options, job):
        with open(options["weight_files"]["model.pt"]) as file:
            self.weight = len(file.read())
        with open(options["repo"] + "/level.txt") as file:
            self.level = int(file.read())
        self.gain = options["gain"]

    def build(self, portrait):
        self.shape = portrait["image"].shape
        return {"weight": self.weight}

    def render(self, motion):
        return np.full(self.shape, self.level + self.gain * motion["index"], np.uint8)
"""


@pytest.fixture
def method(tmp_path: Path) -> type[OfficialMethod]:
    """A method of two lines of code and one file of weights, in an environment that is never built."""
    shim = tmp_path / "shim.py"
    shim.write_text(SHIM)
    code = Recipe(
        method="tiny",
        python="3.8",
        packages=("numpy==1.24.4",),
        repository="https://github.com/somebody/tiny",
        commit=PINNED,
        weights=(Weight("the model", "model.pt", 5, hashlib.sha256(b"bytes").hexdigest(), "the page of tiny"),),
    )

    class Tiny(OfficialMethod):
        recipe = code
        expected = ("level.txt",)
        own_options: ClassVar[dict[str, Any]] = {"gain": 1}

    Tiny.shim = shim
    return Tiny


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return repo_at(tmp_path / "tiny", PINNED)


@pytest.fixture
def given(checkout: Path, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "model.pt").write_bytes(b"bytes")
    return {"repo": str(checkout), "weights": str(tmp_path / "model.pt")}


def repo_at(root: Path, commit: str) -> Path:
    """A clone's folder with a detached HEAD."""
    (root / ".git").mkdir(parents=True)
    (root / ".git" / "HEAD").write_text(f"{commit}\n")
    (root / "level.txt").write_text("40")
    return root


# Commits


def test_the_commit_of_a_real_clone_is_read_without_git_however_it_is_kept(tmp_path: Path) -> None:
    def git(*arguments: str, at: Path) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", *who, "-C", str(at), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    root, tree = tmp_path / "clone", tmp_path / "tree"
    root.mkdir()
    git("init", "-q", "-b", "main", at=root)
    git("commit", "-q", "--allow-empty", "-m", "one", at=root)
    head = git("rev-parse", "HEAD", at=root)
    assert repository.commit_of(root) == head  # a loose branch
    git("worktree", "add", "-q", "-b", "side", str(tree), at=root)
    git("commit", "-q", "--allow-empty", "-m", "two", at=tree)
    assert repository.commit_of(tree) == git("rev-parse", "HEAD", at=tree) != head
    git("pack-refs", "--all", at=root)
    assert not (root / ".git" / "refs" / "heads" / "main").exists()
    assert repository.commit_of(root) == head  # packed
    assert repository.commit_of(tree) == git("rev-parse", "HEAD", at=tree)
    git("checkout", "-q", "--detach", at=root)
    assert repository.commit_of(root) == head


@pytest.mark.parametrize("head", ["ref: ../../../etc/passwd", "ref: refs/heads/../../../x", "garbage", "", "\xff"])
def test_a_damaged_head_is_an_unknown_commit(tmp_path: Path, head: str) -> None:
    root = repo_at(tmp_path / "a", PINNED)
    (root / ".git" / "HEAD").write_bytes(head.encode("latin-1"))
    assert repository.commit_of(root) == ""
    shutil.rmtree(root / ".git")
    assert repository.commit_of(root) == ""


# What is missing


def test_without_anything_it_says_how_all_of_it_is_had(method: type[OfficialMethod]) -> None:
    lacks = method.lacks()
    assert lacks[0] == (
        "its repository was not given: git clone --recurse-submodules https://github.com/somebody/tiny && "
        f"git -C tiny checkout --recurse-submodules {PINNED}; then --repo tiny"
    )
    assert lacks[1] == (
        "its weights were not given: model.pt (the model, 5 bytes), the page of tiny; then --weights FILE, or the "
        "FOLDER that holds it"
    )
    with pytest.raises(UsageError, match="tiny cannot be set up:"):
        method()


def test_all_that_is_given_is_checked(method: type[OfficialMethod], given: dict[str, Any], tmp_path: Path) -> None:
    assert method.lacks(**given) == []
    wrong = {
        "repo": (str(tmp_path / "nowhere"), "nowhere does not exist. git clone"),
        "weights": (str(tmp_path / "nothing.pt"), "nothing.pt does not exist"),
        "python": (str(tmp_path / "python"), "does not start"),
        "gian": (2, "it has no option 'gian', did you mean 'gain'?"),
        "stand_in": (False, "it has no option 'stand_in'"),
        "backend": ("vnev", "unknown backend 'vnev'"),
        "device": ("gpu", "device=gpu: give auto, cpu, or cuda:N"),
        "gain": ("much", "gain=much: give a number, as 1 is"),
    }
    for name, (value, why) in wrong.items():
        lacks = method.lacks(**given | {name: value})
        assert len(lacks) == 1, lacks
        assert why in lacks[0]
        with pytest.raises(UsageError):
            method(**given | {name: value})


def test_options_of_another_kind_are_told_in_words(method: type[OfficialMethod], given: dict[str, Any]) -> None:
    assert method.lacks(**given | {"repo": 2024}) == ["repo=2024: give text"]
    assert method.lacks(**given | {"device": "cpu"}) == []
    method.cuda_only = True
    assert method.lacks(**given | {"device": "cpu"}) == ["device=cpu: its code runs on a CUDA device only"]


def test_another_projects_folder_is_told_by_its_files(
    method: type[OfficialMethod], given: dict[str, Any], checkout: Path
) -> None:
    (checkout / "level.txt").unlink()
    assert f"--repo: {checkout} lacks level.txt: it is not this project's checkout" in method.lacks(**given)[0]
    assert "is a file, not the folder" in method.lacks(**given | {"repo": given["weights"]})[0]


def test_weights_of_another_size_or_hash_are_refused(method: type[OfficialMethod], given: dict[str, Any]) -> None:
    path = Path(given["weights"])
    path.write_bytes(b"other")
    lacks = method.lacks(**given)
    assert "the model has the sha256 " in lacks[0]
    assert "Get it again from the page of tiny" in lacks[0]
    path.write_bytes(b"too long")
    assert "the model has 8 bytes, 5 are expected" in method.lacks(**given)[0]
    folder = given | {"weights": str(path.parent)}
    assert "has 8 bytes" in method.lacks(**folder)[0]
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert (
        "the model has 42 bytes, 5 are expected; it is the pointer that git leaves without LFS"
        in method.lacks(**given)[0]
    )
    path.unlink()
    assert "the model is missing" in method.lacks(**folder)[0]


def test_a_hash_is_computed_once_for_a_file(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AVATARBENCH_CACHE", str(tmp_path / "cache"))
    path = Path(given["weights"])
    found = weights.digest(path)
    md5 = Weight("the model", path.name, md5=hashlib.md5(b"bytes").hexdigest())
    assert weights.problems([md5], path) == []
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: pytest.fail("hashed again"))
    assert weights.digest(path) == found == hashlib.sha256(b"bytes").hexdigest()
    assert weights.problems([md5], path) == []
    monkeypatch.undo()
    path.write_bytes(b"bytez")
    assert weights.digest(path) != found


def test_a_method_of_several_weights_takes_their_folder(given: dict[str, Any], tmp_path: Path) -> None:
    two = (Weight("one", "model.pt"), Weight("two", "sub/other.pt", source="there"))
    assert (
        "is one file, and there are 2: give the folder that holds model.pt, sub/other.pt"
        in weights.problems(two, Path(given["weights"]))[0]
    )
    assert weights.problems(two, tmp_path) == [f"two is missing: {tmp_path / 'sub/other.pt'}, from there"]
    (tmp_path / "sub" / "other.pt").mkdir(parents=True)
    (tmp_path / "sub" / "other.pt" / "a").write_text("a")
    known = weights.describe(two, tmp_path)  # of a folder the hash of what is in it
    (tmp_path / "sub" / "other.pt" / "a").write_text("b!")
    again = weights.describe(two, tmp_path)
    assert known["one"] == again["one"]
    assert known["two"]["sha256"] != again["two"]["sha256"]
    assert bring.how_to_get_weights(replace(TINY, weights=two)).endswith("--weights FOLDER")


TINY = Recipe(method="tiny", python="3.8", repository="https://github.com/somebody/tiny")


# What the record keeps


def test_commit_and_weights_are_recorded_and_another_commit_is_remarked_on(
    method: type[OfficialMethod], given: dict[str, Any], checkout: Path
) -> None:
    origin = method.origin(**given)
    assert (origin["commit"], origin["pinned"], origin["stand_in"]) == (PINNED, PINNED, False)
    assert origin["weights"]["the model"]["sha256"] == hashlib.sha256(b"bytes").hexdigest()
    assert method.remarks(origin) == []
    assert json.loads(json.dumps(origin)) == origin
    ours = method.origin(**given, python=sys.executable)
    assert method.remarks(ours)[0].startswith("it runs in Python 3.")  # and 3.8 is asked for
    repo_at(checkout.with_name("b"), OTHER)
    elsewhere = method.origin(**given | {"repo": str(checkout.with_name("b"))})
    assert f"is at commit {OTHER[:12]}, the adapter was written for {PINNED[:12]}" in method.remarks(elsewhere)[0]
    shutil.rmtree(checkout / ".git")
    assert "is unknown: the folder is no git checkout" in method.remarks(method.origin(**given))[0]


@pytest.mark.parametrize("mark", ['{"stand_in_for": "Tiny"}', "{}", "not JSON", ""])
def test_the_mark_of_a_stand_in_counts_whatever_it_holds(
    method: type[OfficialMethod], given: dict[str, Any], checkout: Path, mark: str
) -> None:
    (checkout / repository.STAND_IN).write_text(mark)
    Path(given["weights"]).write_text("not the method's weights, which a stand-in has none of")
    assert method.lacks(**given) == []
    origin = method.origin(**given)
    assert origin["stand_in"] is True
    assert "only stands in for it (STANDIN.json)" in method.remarks(origin)[0]


def test_it_runs_in_the_users_own_environment(method: type[OfficialMethod], given: dict[str, Any]) -> None:
    given["python"] = common.python()
    assert method.obstacles(**given) == []  # none is built, whatever Pythons are here
    assert method.prepare(**given) == []
    run = method(**given, gain=3)
    try:
        image = np.zeros((8, 8, 3), np.uint8)
        avatar = run.build(Portrait("p", image))
        assert avatar.info == {"weight": 5}
        assert (avatar.render(Motion("m", 2, image)) == 46).all()
    finally:
        run.close()
