"""That isolation is real: a method whose packages conflict with ours, beside one in our process, in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest

from avatarbench.datasets.images import read_image
from avatarbench.isolation import environments, interpreters
from avatarbench.isolation.process import ShimFailed
from avatarbench.isolation.recipe import Recipe
from avatarbench.method import Motion, Portrait
from avatarbench.run.record import read_samples
from benchmarks import isolation
from tests.isolated import Faulty
from tests.isolated.versions import CONFLICT, register
from tests.standins.common import STORE


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line where the methods of ``tests/isolated`` are installed."""
    variables = register(folder / "installed") | {"AVATARBENCH_ENVIRONMENTS": str(STORE), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "avatarbench", "run", *arguments, "--out", "runs"],
        cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def test_a_method_whose_packages_conflict_with_ours_runs_beside_one_in_our_process(tmp_path: Path) -> None:
    assert int(np.__version__.split(".")[0]) >= 2
    assert int(PIL.__version__.split(".")[0]) >= 11
    done = run(
        tmp_path, "-m", "conflict", "-m", "source-copy", "-p", "clip-self", "--metric", "psnr", "--limit", "5",
        "--size", "64", "+method.conflict.faults={f16: crash, f24: raise}",
    )  # fmt: skip
    assert done.returncode == 3, done.stderr  # two frames have no value
    assert "Conflict" in done.stdout
    assert "Source copy" in done.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    record = json.loads((folder / "run.json").read_text())
    found = {method["id"]: method for method in record["methods"]}

    pixels = [read_image(path)[0][0, :2] for path in sorted(folder.glob("predictions/conflict/**/*.png"))]
    assert len(pixels) == 3
    assert all(pixel.tolist() == [[1, 26, 4], [10, 4, 0]] for pixel in pixels)
    assert len(list(folder.glob("predictions/source-copy/**/*.png"))) == 5

    about = found["conflict"]["isolation"]
    assert about["name"] == CONFLICT.name
    assert about["python_version"].startswith(CONFLICT.python)
    assert {"numpy==1.26.4", "pillow==10.4.0"} <= set(about["packages"])
    assert len(about["packages_digest"]) == 64
    assert about["isolation"].keys() >= {"network", "files"}
    assert found["source-copy"]["isolation"] == {}
    assert found["conflict"]["restarts"] == 2  # the crash, and the crash of the second attempt
    assert found["conflict"]["peak_memory_mib"] < found["source-copy"]["peak_memory_mib"]  # of the worker alone

    reasons = {row["frame"]: row["reason"] for row in read_samples(folder).to_pylist() if row["method"] == "conflict"}
    assert [frame for frame, reason in reasons.items() if reason is None] == [8, 32, 40]
    assert "crashed (SIGSEGV) in the middle of render" in reasons[16]
    assert reasons[24].startswith("ValueError: no luck in frame 24 (versions_shim.py, line ")
    notes = [note for note in record["notes"] if "a job folder is kept" in note]
    assert 1 <= len(notes) <= 3
    assert all((Path(note.rpartition(": ")[2]) / "worker.log").exists() for note in notes)


def test_the_benchmark_compares_equal_pictures_and_ends_with_its_ratio(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["isolation.py", "--quick", "--size", "64"])
    isolation.main()
    *_, trivial, worked, last = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in (trivial, worked)] == ["trivial", "50 ms"]
    assert 0.1 < float(last.removeprefix("ratio: ")) < 10


def test_the_oldest_python_of_this_machine_runs_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARBENCH_ENVIRONMENTS", str(STORE))
    numpy = {"3.8": "1.24.4", "3.9": "1.26.4", "3.10": "1.26.4", Faulty.recipe.python: np.__version__}
    oldest = next(version for version in numpy if interpreters.find(version))
    recipe = Recipe(method="oldest", python=oldest, packages=(f"numpy=={numpy[oldest]}",))
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    method = Faulty(environments.ensure(recipe), announces=True, faults={"e": "raises"})
    try:
        avatar: Any = method.build(Portrait("p", image))
        avatar.announce([Motion(name, 0, image) for name in "abe"])
        found = avatar.render(Motion("b", 7, image))
        with pytest.raises(ShimFailed, match="ValueError: no luck"):
            avatar.render(Motion("e", 0, image))
    finally:
        method.close()
    assert np.array_equal(found[1:], image[1:])
    assert found[0, :2, 2].tolist() == [7, 1]
