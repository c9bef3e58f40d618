"""Rendered frames are named by all that they depend on: code and data alike."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path

import pytest

from avatarbench.calibration.frames import tree_digest


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the code and data of OpenHeads."""
    source = Path(str(resources.files("avatarbench.openheads")))
    return Path(
        shutil.copytree(source, tmp_path / "openheads", ignore=shutil.ignore_patterns("test", "__pycache__", ".*"))
    )


@pytest.mark.parametrize("name", ["studio.py", "torso.npz", "curves/record.py", "curves/driving-clip.npz"])
def test_any_file_that_a_picture_depends_on_changes_the_fingerprint(package: Path, name: str) -> None:
    before = tree_digest(package)
    content = bytearray((package / name).read_bytes())
    content[-1] ^= 1
    (package / name).write_bytes(content)
    assert tree_digest(package) != before


def test_a_file_moved_into_another_folder_changes_the_fingerprint(package: Path) -> None:
    before = tree_digest(package)
    (package / "curves" / "torso.npz").write_bytes((package / "torso.npz").read_bytes())
    (package / "torso.npz").unlink()
    assert tree_digest(package) != before


@pytest.mark.parametrize("name", ["test/501/identity.json", "__pycache__/studio.pyc", ".torso.npz.1-2.part"])
def test_pictures_of_the_test_split_and_compiled_code_do_not(package: Path, name: str) -> None:
    before = tree_digest(package)
    (package / name).parent.mkdir(parents=True, exist_ok=True)
    (package / name).write_bytes(b"x")
    assert tree_digest(package) == before
