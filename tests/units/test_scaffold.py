"""``avatarbench method new``: what it writes, and what it refuses."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from avatarbench import registry
from avatarbench.conformance.scaffold import scaffold
from avatarbench.errors import UsageError


def lines(text: str) -> int:
    """Lines that say something: no blank ones, no comments, no docstrings."""
    found = [line.strip() for line in text.splitlines()]
    return sum(bool(line) and not line.startswith(("#", '"""')) for line in found)


@pytest.mark.parametrize(("isolated", "most"), [(False, 42), (True, 48)])
def test_an_adapter_is_about_forty_lines(isolated: bool, most: int, tmp_path: Path) -> None:
    """Entry point, spec, class and test; the rest of pyproject.toml is every package's."""
    paths = scaffold("a-method", tmp_path / "a-method", isolated)
    project = tomllib.loads((tmp_path / "a-method" / "pyproject.toml").read_text())
    entries = project["project"]["entry-points"]["avatarbench.methods"]
    assert entries == {"a-method": "a_method.spec:SPEC"}
    count = 1 + len(entries) + sum(lines(path.read_text()) for path in paths if path.suffix == ".py")
    assert 35 <= count <= most


@pytest.mark.parametrize("isolated", [False, True])
def test_the_package_is_whole(isolated: bool, tmp_path: Path) -> None:
    paths = scaffold("my-method", tmp_path / "deep" / "folder", isolated)
    names = {str(path.relative_to(tmp_path / "deep" / "folder")) for path in paths}
    package = {"__init__", "spec", "method", *(("recipe", "shim") if isolated else ())}
    expected = {f"src/my_method/{name}.py" for name in package}
    assert names == {"README.md", "pyproject.toml", "tests/test_my_method.py", *expected}
    for path in paths:
        text = path.read_text()
        assert not re.search("@[A-Z]+@", text), path
        if path.suffix == ".py":
            ast.parse(text, feature_version=(3, 8) if path.name == "shim.py" else None)
    assert list((tmp_path / "deep").iterdir()) == [tmp_path / "deep" / "folder"]  # nothing half-written beside it


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("My-Method", "lower-case letters"),
        ("../escape", "lower-case letters"),
        ("a--b", "lower-case letters"),
        ("9lives", "lower-case letters"),
        ("m" * 41, "at most 40"),
        ("", "lower-case letters"),
        ("class", "means something to Python"),
        ("match", "means something to Python"),
        ("json", "means something to Python"),
        ("face-warp", "is registered by avatarbench: choose another name, such as my-face-warp"),
        ("numpy", "is installed here"),
        ("opencv-contrib-python", "is installed here"),
    ],
)
def test_a_name_that_cannot_be_one_is_refused_with_the_reason(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=why):
        scaffold(name, tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("mine", "dangling"):
        with pytest.raises(UsageError, match="is there already: choose another name, or another place with --out"):
            scaffold("mine", tmp_path / name)
    assert not list((tmp_path / "mine").iterdir())


def test_what_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        scaffold("mine", tmp_path / "mine")
    assert not list(tmp_path.iterdir())


def test_the_names_of_all_methods_here_are_taken(tmp_path: Path) -> None:
    for name in registry.names("methods"):
        with pytest.raises(UsageError):
            scaffold(name, tmp_path / "new")
