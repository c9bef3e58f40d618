"""Peak resident memory of this process over a stretch of work."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

MEBIBYTE = 1024.0 * 1024.0
INTERVAL = 0.02


class PeakMemory:
    """Samples resident memory every 20 ms while it is entered; ``mib`` is the highest seen so far.

    A thread samples, so that what a call takes and gives back inside itself is seen too. In one process a method
    inherits what an earlier one left allocated.
    """

    def __init__(self) -> None:
        self.mib = 0.0
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._sample()

    def _sample(self) -> None:
        self.mib = max(self.mib, self._process.memory_info().rss / MEBIBYTE)
