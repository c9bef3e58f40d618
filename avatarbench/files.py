"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SUFFIX = ".part"


def leftovers(target: Path) -> list[Path]:
    """What killed writers of ``target`` left beside it; safe to remove only where no other process may be writing."""
    start = f".{target.name}."
    if not target.parent.is_dir():
        return []
    return [p for p in target.parent.iterdir() if p.name.startswith(start) and p.name.endswith(SUFFIX)]


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target``, not yet there, that becomes ``target`` when the block ends without an error.

    The bytes are on the disk before the name changes, so that neither a killed process nor a power cut leaves half a
    file under the name. Parent folders are made. On any failure the temporary is removed and ``target`` stays as it
    was. The name ends in ``.part`` whatever ``target`` ends in: a writer that goes by the ending must be told the
    format or be given an open file. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}")
    try:
        yield temporary
        with temporary.open("r+b") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report, and a failed removal must not hide it
            temporary.unlink(missing_ok=True)
        raise
