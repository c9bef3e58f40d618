"""Pythons of this machine, by version, and uv."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ANSWER_SECONDS = 20
_ASK = "import sys; print('.'.join(map(str, sys.version_info[:3])))"


def uv() -> Path | None:
    """uv beside our own Python, or on PATH."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("uv")
    return Path(found) if found else None


@cache
def find(version: str) -> Path | None:
    """A Python ``3.8`` or ``3.8.18``: our own, one on PATH, of pyenv, or installed by uv. None where there is none.

    Each is asked for its version: a version manager's shim may stand on PATH for a Python that it does not have.
    """
    return next((path for path in _candidates(version) if _is(version, version_of(path))), None)


def version_of(python: Path) -> str | None:
    """``"3.8.18"``, or None where it is no Python that starts."""
    try:
        done = subprocess.run(
            [str(python), "-I", "-c", _ASK], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _is(version: str, found: str | None) -> bool:
    return found is not None and f"{found}.".startswith(f"{version}.")


def _candidates(version: str) -> Iterator[Path]:
    minor = ".".join(version.split(".")[:2])
    if _is(version, ".".join(map(str, sys.version_info[:3]))):
        yield Path(sys.executable)
    for folder in os.get_exec_path():
        if found := shutil.which(f"python{minor}", path=folder):
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from sorted(pyenv.glob(f"{minor}.*/bin/python{minor}"), reverse=True)
    if (tool := uv()) and (managed := _managed(tool, version)):
        yield managed


def _managed(tool: Path, version: str) -> Path | None:
    """One that uv installed. It downloads none: that is the user's to ask for."""
    command = [str(tool), "python", "find", "--managed-python", "--no-python-downloads", "--no-project", version]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return Path(done.stdout.strip())
