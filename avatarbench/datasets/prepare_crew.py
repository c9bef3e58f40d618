"""Several processes that prepare sequences, and what happens when they are stopped."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import connection, get_context, parent_process
from multiprocessing.synchronize import Event

from avatarbench.dataset import Dataset
from avatarbench.datasets.prepare_sequence import Job, Origin, Outcome, prepare_sequence
from avatarbench.errors import AvatarbenchError, DataError
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.openheads.crew import interrupts_ignored


class Stopped(Exception):
    """No further frame is wanted."""


# A process of a pool has no other place to keep it.
_stop: Event | None = None


def work(jobs: Sequence[Job], workers: int) -> Iterator[Outcome]:
    """Prepare sequences, ``workers`` at a time; each outcome as it comes. One worker is this process.

    A sequence that cannot be prepared is a failure of its own. An interrupt ends all workers after their current frame.
    Raises DataError where one dies, OSError where nothing can be written.
    """
    if workers == 1 or len(jobs) == 1:
        yield from map(_do, jobs)
        return
    context = get_context("spawn")  # a fork would copy the locks of threads that libraries started
    stop = context.Event()
    with ProcessPoolExecutor(min(workers, len(jobs)), context, _start, (stop,)) as pool:
        try:
            with interrupts_ignored():
                pending = [pool.submit(_do, job) for job in jobs]
            for future in as_completed(pending):
                yield future.result()
        except BrokenProcessPool as error:
            raise DataError(
                "a preparing process died, perhaps for lack of memory. What is finished is kept: the same command goes "
                "on from here; try fewer --workers."
            ) from error
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _do(job: Job) -> Outcome:
    try:
        return prepare_sequence(job, _data(job.origin), _engine(), _go_on)
    except AvatarbenchError as error:
        return Outcome(job.sequence, len(job.frames), True, failure=str(error))


@lru_cache(maxsize=1)
def _data(origin: Origin) -> Dataset:
    return origin.open()


@lru_cache(maxsize=1)
def _engine() -> FeatureEngine:
    return FeatureEngine(["face"], FeatureCache.default())


def release() -> None:
    """Close what this process keeps for the next sequence."""
    if _engine.cache_info().currsize:
        engine = _engine()
        engine.close()
        engine.cache.close()
    _engine.cache_clear()
    _data.cache_clear()


def _go_on() -> None:
    if _stop is not None and _stop.is_set():
        raise Stopped


def _start(stop: Event) -> None:
    """In the worker: one thread a process, deaf to Ctrl-C, which the parent hears, and gone when the parent is."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def weighted(jobs: Iterable[Job]) -> int:
    """Frames of all jobs: what progress counts."""
    return sum(len(job.frames) for job in jobs)
