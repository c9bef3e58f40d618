"""Keeps one worker at work for a method: starts it, starts it again, and says when a failure is the method's own."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from avatarbench.errors import AvatarbenchError, Unscorable
from avatarbench.isolation.client import WorkerError
from avatarbench.isolation.job_folder import JobFolder, sweep
from avatarbench.isolation.process import Job, Killed, ShimFailed, Startable, Worker
from avatarbench.method import Site

T = TypeVar("T")
ATTEMPTS = 2
"""What fails once, by its own exception, crash or timeout, is tried once more."""
KILLS = 10
"""So many kills from outside, with nothing finished between them, are borne; the next costs what was asked for."""
KEPT = 3
"""Job folders of failed work that are kept; further ones are removed, as frames that fail alike leave the same."""


class KilledAgain(Killed):
    """One kill from outside too many, with nothing finished between them."""


class Lost(AvatarbenchError):
    """An avatar that could not be built again after a restart: all of its frames that are left fail with it."""


class Placeable(Protocol):
    """What a worker is brought to before it is asked for a frame."""

    def place(self, worker: Worker) -> None: ...


class Supervisor:
    """At most one worker, with a job folder in ``site``'s, or in the system's temporary folder where there is none.
    ``environment`` is asked for at the first start."""

    def __init__(self, environment: Callable[[], Startable], job: Job, start_timeout: float) -> None:
        self.site: Site | None = None
        self.restarts = 0
        self.peak_memory_mib = 0.0
        self.greeting: dict[str, object] = {}
        self.lost_seconds = 0.0
        self._environment, self._job, self._start_timeout = environment, job, start_timeout
        self._workers: list[Worker] = []  # one or none
        self._placed: Placeable | None = None
        self._dead: AvatarbenchError | None = None
        self._kills = self._started = 0
        self._why = ""
        self._kept: list[Path] = []
        self._failed = False
        self._folders: dict[Path, JobFolder] = {}
        self._finalizer = weakref.finalize(self, _abandon, self._workers, self._folders)

    def build(self, avatar: Placeable) -> None:
        """Bring the worker to ``avatar``. Raises Unscorable and WorkerError where the avatar cannot be built."""
        begun = time.perf_counter()
        took = self._persist(lambda worker: self._place(avatar, worker))
        self._kills = 0
        self.lost_seconds = time.perf_counter() - begun - took

    def ask(self, avatar: Placeable, work: Callable[[Worker], T]) -> T:
        """What ``work`` gets of a worker that is at ``avatar``, building it again where it is not.

        Raises Unscorable, WorkerError where it fails twice, and Lost where the avatar cannot be built again.
        """
        begun = time.perf_counter()
        found: list[T] = []

        def at_avatar(worker: Worker) -> float:
            start = time.perf_counter()
            found.append(work(worker))
            return time.perf_counter() - start

        took = self._persist(at_avatar, avatar)
        self._kills = 0
        self.lost_seconds = time.perf_counter() - begun - took
        return found[-1]

    def _persist(self, work: Callable[[Worker], float], avatar: Placeable | None = None) -> float:
        """The seconds of the attempt that succeeded."""
        if self._dead is not None:
            raise self._dead
        failures = 0
        while True:
            try:
                if avatar is not None:
                    self._rebuild(avatar)
                return work(self._worker())
            except Unscorable:
                self._kills = 0
                raise
            except KilledAgain:
                raise
            except Killed as error:
                self._kills += 1
                self._drop(error, keep=False)
                if self._kills > KILLS:
                    raise KilledAgain(f"{error}, {self._kills} times in a row: is the memory too small?") from error
            except WorkerError as error:
                failures += 1
                self._failed = True
                if not isinstance(error, ShimFailed) or error.poisoned:
                    self._drop(error, keep=True)
                if failures == ATTEMPTS:
                    if not self._started:
                        self._dead = error
                    raise

    def _rebuild(self, avatar: Placeable) -> None:
        if self._workers and self._placed is avatar:
            return
        try:
            self._persist(lambda worker: self._place(avatar, worker))
        except KilledAgain:
            raise
        except (WorkerError, Unscorable) as error:
            raise Lost(f"the avatar could not be built again after a restart: {error}") from error

    def _place(self, avatar: Placeable, worker: Worker) -> float:
        start = time.perf_counter()
        self._placed = None
        avatar.place(worker)
        self._placed = avatar
        return time.perf_counter() - start

    def _worker(self) -> Worker:
        if self._workers:
            return self._workers[0]
        try:
            environment = self._environment()
        except AvatarbenchError as error:
            self._dead = error
            raise
        if self._why:
            self.restarts += 1
            if self.site is not None:
                self.site.restarted(self._why)
            self._why = ""
        folder = self._new_folder()
        try:
            worker = Worker(environment, self._job, folder, self._start_timeout, self._hear)
        except BaseException as error:
            self._leave(folder, keep=isinstance(error, WorkerError) and not isinstance(error, Killed))
            self._why = str(error)
            raise
        self._workers.append(worker)
        self._started += 1
        self.greeting = worker.greeting
        return worker

    def _drop(self, error: WorkerError, keep: bool) -> None:
        self._placed = None
        while self._workers:
            worker = self._workers.pop()
            worker.kill()
            self.peak_memory_mib = max(self.peak_memory_mib, worker.peak_memory_mib)
            self._leave(worker.folder, keep)
            self._why = str(error)

    def memory_mib(self) -> float:
        """The highest resident memory of any worker so far."""
        return max([self.peak_memory_mib, *(worker.peak_memory_mib for worker in self._workers)])

    def close(self) -> None:
        """End the worker: at once in the middle of work, by its own code where it is idle."""
        self._placed = None
        while self._workers:
            worker = self._workers.pop()
            worker.kill(gently=True)
            self.peak_memory_mib = max(self.peak_memory_mib, worker.peak_memory_mib)
            self._leave(worker.folder, self._failed and not worker.busy)
        if self.site is not None:
            for folder in (self.site.folder, self.site.folder.parent):
                with contextlib.suppress(OSError):  # not there, or something is kept in it
                    folder.rmdir()

    def _hear(self, text: str) -> None:
        if self.site is not None:
            self.site.say(text)

    def _new_folder(self) -> Path:
        parent = self.site.folder if self.site else None
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        if not self._started:
            sweep(parent)  # what killed runs have left there
        made = JobFolder(parent)
        self._folders[made.path] = made
        return made.path

    def _leave(self, folder: Path, keep: bool) -> None:
        """Remove a job folder, or keep it and say so, where there is somebody to tell."""
        job = self._folders.pop(folder)
        if keep and self.site is not None and len(self._kept) < KEPT:
            self._kept.append(folder)
            job.keep()
            self.site.note(f"a job folder is kept after a failure, with its log: {folder}")
        else:
            job.remove()


def _abandon(workers: list[Worker], folders: dict[Path, JobFolder]) -> None:
    """End what nobody closed, when the supervisor is collected or the interpreter ends."""
    for worker in workers:
        worker.kill()
    for folder in folders.values():
        folder.remove()
