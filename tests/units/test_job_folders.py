"""Job folders of processes that were killed are removed at a later start, and no others."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from avatarbench.isolation import descendants
from avatarbench.isolation.client import WorkerError
from avatarbench.isolation.job_folder import OWNER, PREFIX, JobFolder, sweep
from avatarbench.method import Motion, Portrait
from tests.conftest import ROOT
from tests.isolated import Faulty

OTHER = """
import sys, time
from pathlib import Path
from avatarbench.isolation.job_folder import JobFolder
print(JobFolder(Path(sys.argv[1])).path, flush=True)
time.sleep(60)
"""
IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process with a job folder, and that."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process, Path(process.stdout.readline().strip())
    process.kill()
    process.communicate()


def test_a_killed_processs_folder_is_removed_with_what_it_left_running_and_a_living_ones_is_not(
    other: tuple[subprocess.Popen[str], Path], tmp_path: Path
) -> None:
    process, folder = other
    (folder / "frame.png").touch()
    mine, kept, foreign = JobFolder(tmp_path), JobFolder(tmp_path), tmp_path / f"{PREFIX}foreign"
    kept.keep()
    foreign.mkdir()  # of another version, or of nobody that we know
    (tmp_path / f"{PREFIX}link").symlink_to(folder)
    here = {path.name for path in tmp_path.iterdir()}
    assert sweep(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == here

    left = subprocess.Popen(["sleep", "60"], env={**os.environ, descendants.MARK: str(folder)})
    process.kill()
    process.wait()
    assert sweep(tmp_path) == [folder]
    assert {path.name for path in tmp_path.iterdir()} == here - {folder.name}
    assert left.wait(10) < 0
    mine.remove()
    assert not mine.path.exists()


def test_a_folder_of_another_machine_is_not_judged_by_its_lock(
    other: tuple[subprocess.Popen[str], Path], tmp_path: Path
) -> None:
    process, folder = other
    process.kill()
    process.wait()
    (folder / OWNER).write_text("another-machine")
    assert sweep(tmp_path) == []
    assert folder.is_dir()


def test_a_folder_that_its_owner_keeps_at_that_moment_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, lock = JobFolder(tmp_path), fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        folder.keep()  # sweep has opened its lock, and comes to take it
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    assert sweep(tmp_path) == []
    assert folder.path.is_dir()


def test_a_method_that_works_in_no_run_leaves_nothing_and_takes_away_what_a_killed_one_left(
    other: tuple[subprocess.Popen[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, folder = other
    process.kill()
    process.wait()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    method = Faulty(faults={"f": "raises", "g": "exits"})
    try:
        avatar = method.build(Portrait("p", IMAGE))
        assert not folder.exists()
        assert len(list(tmp_path.iterdir())) == 1
        for name in "fg":
            with pytest.raises(WorkerError):
                avatar.render(Motion(name, 0, IMAGE))
    finally:
        method.close()
    assert list(tmp_path.iterdir()) == []
