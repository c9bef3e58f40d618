"""Job folders: each says by a lock that its owner lives, and is removed at a later start where that was killed.

A lock and not a process id, which another process may have by then: the kernel lifts it however its holder ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import tempfile
from pathlib import Path

from avatarbench.isolation import descendants

PREFIX = "avatarbench-job-"
OWNER = "owner.lock"


class JobFolder:
    """A new folder in ``parent``, or in the system's temporary folder, that is this process's until it ends."""

    def __init__(self, parent: Path | None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
        # The worker starts in it, where a relative name would lead elsewhere.
        unnamed = self.path / f"{OWNER}.part"
        self._lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks: then nobody else gets one either
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._lock, _here())
        unnamed.rename(self.path / OWNER)  # under that name it is never unlocked while we live

    def keep(self) -> None:
        """Let it stay: nobody removes it any more."""
        (self.path / OWNER).unlink(missing_ok=True)
        os.close(self._lock)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def sweep(parent: Path | None) -> list[Path]:
    """Remove the job folders in ``parent``, or in the system's temporary folder, whose owner was killed, with what it
    had left running. Returns them. None of a living process, of another user or of another machine is touched, and
    none that was kept."""
    removed = []
    for path in (parent or Path(tempfile.gettempdir())).resolve().glob(f"{PREFIX}*"):
        try:
            if path.is_symlink() or path.lstat().st_uid != os.geteuid():
                continue
            lock = os.open(path / OWNER, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # it was kept, or is being made or removed
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.stat(path / OWNER)  # or its owner has kept or removed it since it was opened
            if os.pread(lock, 1 << 10, 0) == _here():
                descendants.end(str(path))
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
        except OSError:  # its owner lives, or did until now
            continue
        finally:
            os.close(lock)
    return removed


def _here() -> bytes:
    return platform.node().encode()
