"""``avatarbench doctor``: the exit code says whether the demo can run, each lack has its fix, a crash is contained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from avatarbench import assets
from avatarbench.cli.doctor import DEMO_ASSETS, Probe, check_cache, check_python, check_room, library_fix, run_probes


def run_doctor(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "avatarbench", "doctor", *words],
        env={**os.environ, **env},
        text=True,
        capture_output=True,
        timeout=300,
    )


@pytest.mark.slow
def test_with_the_demos_assets_here_doctor_exits_with_zero() -> None:
    assert assets.ensure(DEMO_ASSETS) == {}
    done = run_doctor()
    assert done.returncode == 0, done.stdout
    assert "Everything that `make demo` needs is here." in done.stdout
    for name in ("Python", "torchvision", "mediapipe", "dlib", "PyAV", "onnxruntime", "asset face-landmarker"):
        row = next(line for line in done.stdout.splitlines() if name in line)
        assert "✓" in row


@pytest.mark.slow
def test_without_them_each_row_carries_the_command_and_the_exit_code_is_one(tmp_path: Path) -> None:
    done = run_doctor("--json", AVATARBENCH_CACHE=str(tmp_path), AVATARBENCH_ASSETS="", AVATARBENCH_OFFLINE="1")
    assert done.returncode == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)}
    for id in assets.ids():
        check = checks[f"asset {id}"]
        assert not check["ok"]
        assert check["fix"] == f"avatarbench assets pull {id}"
        assert check["needed"] == (id in DEMO_ASSETS)
    assert all(check["ok"] or check["fix"] for check in checks.values())


def test_a_native_package_that_crashes_is_a_row_and_the_others_are_still_examined() -> None:
    probes = [
        Probe("first", "os", "found = 'well'", "none"),
        Probe("broken", "os", "import os; os.abort()", "reinstall it"),
        Probe("chatty", "os", "import os; print('noise'); os.write(1, b'noise'); found = 'well'", "none"),
    ]
    checks = list(run_probes(probes))
    assert [(check.name, check.ok) for check in checks] == [("first", True), ("broken", False), ("chatty", True)]
    assert checks[1].found == "crashed with signal 6"
    assert checks[1].fix == "reinstall it"


def test_a_package_that_is_not_installed_has_its_fix() -> None:
    (check,) = run_probes([Probe("absent", "no_such_package", "import no_such_package", "pip install it", False)])
    assert (check.ok, check.found, check.fix, check.needed) == (False, "not installed", "pip install it", False)


def test_a_package_that_hangs_is_given_up() -> None:
    (check,) = run_probes([Probe("stuck", "time", "import time; time.sleep(60)", "reinstall it")], seconds=1)
    assert (check.ok, check.found) == (False, "no answer in 1 s")


@pytest.mark.parametrize(
    ("library", "fix"),
    [
        ("libEGL.so.1", "apt-get install libegl1"),
        ("libGLESv2.so.2", "apt-get install libgles2"),
        ("libunheard-of.so.7", "install the system library libunheard-of.so.7"),
    ],
)
def test_a_missing_shared_library_becomes_the_package_that_holds_it(library: str, fix: str) -> None:
    raised = f"raise OSError('{library}: cannot open shared object file: No such file or directory')"
    (check,) = run_probes([Probe("mediapipe", "os", raised, "pip install mediapipe")])
    assert not check.ok
    assert library in check.found
    assert check.fix.startswith(fix)


def test_the_loaders_own_message_is_understood() -> None:
    """The wording is the system's: a library that really is not there, asked for as a package would."""
    code = "import ctypes; ctypes.CDLL('libEGL-not-here.so.1')"
    (check,) = run_probes([Probe("mediapipe", "os", code, "pip install mediapipe")])
    assert check.fix == "install the system library libEGL-not-here.so.1"
    assert library_fix("ImportError: something else") is None


def test_an_old_python_is_reported_with_the_version_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    check = check_python()
    assert not check.ok
    assert "3.11" in check.fix


def test_a_full_disk_and_a_cache_that_may_not_be_written_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10_000_000))
    room = check_room("the cache", tmp_path / "not" / "made" / "yet")
    assert not room.ok
    assert "AVATARBENCH_CACHE" in room.fix
    monkeypatch.setattr("os.access", lambda path, mode: False)
    cache = check_cache(tmp_path / "cache")
    assert not cache.ok
    assert str(tmp_path) in cache.fix
