"""Several processes that build people, one thread each, and what happens when one is stopped or dies."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from typing import TYPE_CHECKING, Any, NamedTuple

from avatarbench.errors import AvatarbenchError, DataError
from avatarbench.openheads.crew import interrupts_ignored

if TYPE_CHECKING:
    from avatarbench.fitting.fit import Progress
    from avatarbench.methods.pointillist.build_person import Job

LOOK = 0.5
"""Seconds between two looks at how far the fits are."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
HOPELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Of writing: what fails for one person fails for all."""


class Built(NamedTuple):
    """``record`` of a person who is finished, or the ``error`` that left the person out; ``hopeless``: nobody else can
    be built either."""

    person: str
    record: dict[str, Any] | None
    error: str = ""
    hopeless: bool = False


# A process of a pool has no other place to keep these.
_stop: Any = None
_steps: Any = None


def run(jobs: Sequence[Job], workers: int, look: Callable[[list[int]], None], then: Callable[[Built], None]) -> None:
    """Build everybody of ``jobs``, ``workers`` at a time, each with one thread, so that results do not depend on their
    number. ``look`` is told the steps of each fit now and then, ``then`` of everybody who is done.

    An interrupt stops all workers after their step, which they save. Raises DataError where a worker dies, and for what
    nobody can be built under.
    """
    context = get_context("spawn")  # a fork would copy the threads' locks of torch and MediaPipe
    stop, steps = context.Event(), context.RawArray("q", max(1, len(jobs)))
    with ProcessPoolExecutor(workers, context, _start, (stop, steps)) as pool:
        try:
            with _one_thread(), interrupts_ignored():
                for _ in range(workers):  # every process starts now, deaf to Ctrl-C: this one stops them
                    pool.submit(os.getpid)
            pending: set[Future[Built]] = {pool.submit(_do, number, job) for number, job in enumerate(jobs)}
            while pending:
                done, pending = wait_for(pending, timeout=LOOK, return_when="FIRST_COMPLETED")
                look(list(steps)[: len(jobs)])
                for future in done:
                    built = future.result()
                    if built.hopeless:
                        raise DataError(built.error)
                    then(built)
        except BrokenProcessPool as error:
            raise DataError(
                "a process that fits people died, perhaps for lack of memory. What is finished is kept: the same "
                "command goes on from here; try fewer --workers."
            ) from error
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started meanwhile have one thread in every library."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start(stop: Any, steps: Any) -> None:
    global _stop, _steps
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _stop, _steps = stop, steps


def _do(number: int, job: Job) -> Built:
    import torch

    from avatarbench.fitting.fit import Stop

    torch.set_num_threads(1)

    def watch(progress: Progress) -> None:
        _steps[number] = progress.step
        if _stop.is_set():
            raise Stop

    if _stop.is_set():
        return Built(job.person, None, "stopped")
    try:
        return attempt(job, watch)
    except Stop:
        return Built(job.person, None, "stopped")


def attempt(job: Job, watch: Callable[[Progress], None]) -> Built:
    """Build one person here; what is wrong with the person becomes the result's ``error``. ``watch`` may raise."""
    from avatarbench.methods.pointillist.build_person import build_person

    try:
        return Built(job.person, build_person(job, watch))
    except AvatarbenchError as error:
        return Built(job.person, None, str(error), _is_hopeless(error))
    except OSError as error:
        return Built(job.person, None, _unwritable(job, error), error.errno in HOPELESS)


def _is_hopeless(error: AvatarbenchError) -> bool:
    """Whether it was a file to be written that brought it on; one to be read concerns one person."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in HOPELESS and "cannot be written" in str(error)


def _unwritable(job: Job, error: OSError) -> str:
    return (
        f"{error.filename or job.folder} cannot be written ({error.strerror or error}): free some space or choose "
        "another --out. The same command goes on from here."
    )


def _leave_with_parent() -> None:
    """A killed parent can tell nobody to stop."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
