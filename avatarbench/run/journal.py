"""The journal: what a run has finished, one JSON line an event, so that a killed run resumes exactly."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from avatarbench.errors import DataError


class Journal:
    """Append-only. A line reaches the disk before its work counts as done; a torn last line is dropped on reading."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        torn = self._torn_tail()
        self._file = self.path.open("ab", buffering=0)
        if torn:
            self._file.truncate(self.path.stat().st_size - torn)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write(self, kind: str, **event: Any) -> None:
        """Append one event and flush it to the disk."""
        if self._file is None:
            raise RuntimeError("the journal is not open")
        line = json.dumps({"kind": kind, **event}, ensure_ascii=False) + "\n"
        size = os.fstat(self._file.fileno()).st_size
        try:
            self._file.write(line.encode())
            os.fsync(self._file.fileno())
        except OSError:  # a full disk: no half line may stay in front of the next one
            self._file.truncate(size)
            raise

    def read(self) -> Iterator[dict[str, Any]]:
        """Every finished event. Raises DataError for a line that is neither JSON nor the torn last one."""
        if not self.path.exists():
            return
        lines = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is torn or empty
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(f"{self.path}, line {number} is damaged. Start the run anew.") from error

    def _torn_tail(self) -> int:
        if not self.path.exists():
            return 0
        return len(self.path.read_bytes().rpartition(b"\n")[2])
