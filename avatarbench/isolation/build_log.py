"""The log of an environment's builds: all that the installers print, up to a size, of which its middle is left out."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

HEAD = 4 << 20
"""Bytes of the beginning that are always kept."""
TAIL = 4 << 20
"""Bytes of the end that are kept where the file is cut, which it is once it has twice as many beyond the beginning."""
CUT = b"\n... what came here is left out: the log was too long ...\n"
LOOKED_AT = 1 << 16
LONGEST = 500
"""Characters of a line where lines are shown."""


class BuildLog:
    """Open for one step. Raises OSError where it cannot be written."""

    def __init__(self, path: Path, title: str) -> None:
        self.path = path
        self._file = path.open("a+b", buffering=0)
        self._file.write(title.encode())
        self._start = self._size()  # of what the step prints

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        if self._size() > HEAD + 2 * TAIL:
            self._cut()

    def last_lines(self, count: int) -> str:
        """The step's last non-empty lines, of 64 KiB at the most."""
        self._file.seek(max(self._start, self._size() - LOOKED_AT))
        lines = self._file.read().decode(errors="replace").replace("\r", "\n").splitlines()
        return "\n".join(deque((line[:LONGEST] for line in lines if line.strip()), count))

    def _cut(self) -> None:
        end = self._size()
        self._file.seek(end - TAIL)
        tail = self._file.read(TAIL)
        self._file.truncate(HEAD)
        self._file.write(CUT)
        self._file.write(tail)  # appended, as all is
        if self._start > HEAD:
            self._start = max(HEAD + len(CUT), self._start - end + self._size())

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size
