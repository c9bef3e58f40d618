"""What a pull tells its caller while it works."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

log = logging.getLogger(__name__)


class PullProgress(Protocol):
    def update(self, id: str, done: int, total: int | None) -> None:
        """``done`` of ``total`` bytes of the asset ``id`` are here; ``total`` is None where the server does not say."""
        ...

    def note(self, text: str) -> None:
        """Something the user should know, such as a source that failed before the next one is tried."""
        ...


class LogProgress:
    """No bar; notes go to the log."""

    def update(self, id: str, done: int, total: int | None) -> None:
        pass

    def note(self, text: str) -> None:
        log.warning(text)


class BarProgress:
    """A rich bar for each asset: ``with BarProgress(console) as progress: ensure(ids, progress)``."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def update(self, id: str, done: int, total: int | None) -> None:
        if id not in self._tasks:
            self._tasks[id] = self._bars.add_task(id, total=total)
        self._bars.update(self._tasks[id], completed=done, total=total)

    def note(self, text: str) -> None:
        self._bars.console.print(text, style="yellow", highlight=False, markup=False)
