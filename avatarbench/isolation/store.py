"""Where built environments lie: one folder each, with its log, its marks and a lock beside them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from avatarbench import files
from avatarbench.assets.store import cache_root
from avatarbench.errors import UsageError

READY, RECIPE, MARKS, LOG = "ready.json", "recipe.json", "steps.json", "build.log"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*-[0-9a-f]{12}")


def root() -> Path:
    """The folder of all environments: AVATARBENCH_ENVIRONMENTS, or ``environments`` in the cache."""
    chosen = os.environ.get("AVATARBENCH_ENVIRONMENTS")
    return Path(chosen).expanduser().absolute() if chosen else cache_root() / "environments"


def folder(name: str) -> Path:
    """The folder of one environment, there or not. Raises UsageError for what is no name of one, such as a path."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name of an environment: `avatarbench env list` shows them.")
    return root() / name


def names() -> list[str]:
    """Names of the environments that are built or were begun, sorted."""
    if not root().is_dir():
        return []
    return sorted(p.name for p in root().iterdir() if _NAME.fullmatch(p.name) and p.is_dir() and not p.is_symlink())


def read(path: Path) -> dict[str, Any]:
    """A JSON object of ours, or {} where it is not there or damaged, which means that the work is done anew."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, content: dict[str, Any]) -> None:
    with files.writing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def size_bytes(name: str) -> int:
    """Bytes on the disk below the environment's folder, links not followed."""
    total = 0
    for parent, _, entries in os.walk(folder(name)):
        for entry in entries:
            with suppress(OSError):  # another process may be building there
                total += os.lstat(os.path.join(parent, entry)).st_blocks * 512
    return total


@contextmanager
def locked(name: str, waiting: Callable[[str], None] | None = None) -> Iterator[int]:
    """Hold the environment's lock, and give its file descriptor: a child that inherits it holds the lock as well.

    So an installer that outlives a killed build still keeps others out. Where another process has the lock, ``waiting``
    is told once and we wait; None raises BlockingIOError.
    """
    path = root() / ".locks" / f"{folder(name).name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is None:
                raise
            waiting(f"another process ({_holder(descriptor)}) is building {name}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@contextmanager
def in_use(name: str) -> Iterator[int]:
    """A descriptor whose holders, this process and every child that inherits it, keep the environment in use."""
    path = root() / ".locks" / f"{name}.use"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield descriptor
    finally:
        os.close(descriptor)  # not unlocked: that would be for all who hold it


def users(name: str) -> list[str]:
    """``pid 12 (python)`` of what holds such a descriptor, as far as this user may look."""
    lock, found = os.path.realpath(root() / ".locks" / f"{name}.use"), []
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):  # another user's, or it has ended meanwhile
            if any(os.path.realpath(link) == lock for link in descriptors.iterdir()):
                found.append(f"pid {descriptors.parent.name} ({(descriptors.parent / 'comm').read_text().strip()})")
    return sorted(found)


def is_in_use(name: str) -> bool:
    """Whether anything that was started in the environment still runs."""
    with in_use(name) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def is_locked(name: str) -> bool:
    """Whether some process builds or removes it now."""
    try:
        with locked(name):
            return False
    except BlockingIOError:
        return True


def _holder(descriptor: int) -> str:
    return f"pid {os.pread(descriptor, 20, 0).decode(errors='replace') or 'unknown'}"


def delete(name: str) -> None:
    """Remove the environment's folder. Raises UsageError where it is a link or lies elsewhere; OSError."""
    path = folder(name)
    if path.is_symlink() or path.resolve().parent != root().resolve():
        raise UsageError(f"{path} does not lie in {root()} itself, so it is not removed.")
    with suppress(FileNotFoundError):
        (path / READY).unlink()  # first, so that what a kill leaves half removed does not count as built
    shutil.rmtree(path)
