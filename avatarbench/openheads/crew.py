"""Several processes that render, and what happens when one is stopped, runs out of disk, or dies."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from multiprocessing.synchronize import Event

from avatarbench.errors import DataError
from avatarbench.openheads.worker import Job, Worker

# A process of a pool has no other place to keep what the next job needs.
_worker: Worker | None = None


def run(jobs: Iterable[Job], workers: int, then: Callable[[Job, int], Iterable[Job]]) -> None:
    """Do ``jobs`` in order, ``workers`` at a time. ``then(job, result)`` is called here for each one that is done, and
    gives the jobs that have become possible; they come first.

    An interrupt or the first error stops all workers after their current picture, and is raised. Raises DataError where
    a worker dies.
    """
    context = get_context("spawn")  # a fork would copy the threads' locks of torch and of the renderer
    stop = context.Event()
    with ProcessPoolExecutor(workers, context, _start, (stop,)) as pool:
        try:
            _assemble(pool, workers)
            _drive(pool, iter(jobs), 2 * workers, then)
        except BrokenProcessPool as error:
            raise DataError(
                "a rendering process died, perhaps for lack of memory. What is finished is kept: the same command goes "
                "on from here; try fewer --workers."
            ) from error
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _drive(
    pool: ProcessPoolExecutor, jobs: Iterator[Job], ahead: int, then: Callable[[Job, int], Iterable[Job]]
) -> None:
    ready: deque[Job] = deque()
    pending: dict[Future[int], Job] = {}
    while True:
        while len(pending) < ahead:
            job = ready.popleft() if ready else next(jobs, None)
            if job is None:
                break
            pending[pool.submit(_do, job)] = job
        if not pending:
            return
        for future in wait(pending, return_when=FIRST_COMPLETED).done:
            ready.extend(then(pending.pop(future), future.result()))


def _assemble(pool: ProcessPoolExecutor, workers: int) -> None:
    """Start every process now, deaf to Ctrl-C from its first moment: the parent stops them."""
    with interrupts_ignored():
        for _ in range(workers):
            pool.submit(os.getpid)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Processes started meanwhile are deaf to Ctrl-C: their parent stops them."""
    if threading.current_thread() is not threading.main_thread():  # where handlers cannot be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start(stop: Event) -> None:
    """In the worker: one thread for each library, since there is a process a core."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    import drjit
    import torch

    torch.set_num_threads(1)
    drjit.set_thread_count(1)
    _worker = Worker(stop)


def _do(job: Job) -> int:
    if _worker is None:
        raise RuntimeError("the worker was not started")
    return _worker.do(job)


def _leave_with_parent() -> None:
    """A killed parent can tell nobody to stop."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
