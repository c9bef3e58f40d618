"""Our end of the two pipes to a worker: whole messages, within a deadline, from a process that may end at any time."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from typing import Any

from avatarbench.errors import AvatarbenchError
from avatarbench.isolation.wire import decode, encode

Message = dict[str, Any]
SLICE = 0.25
"""Seconds between looks at whether the process is still there: what it forked may hold its pipes open."""
PIPE_BYTES = 1 << 20
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux


class WorkerError(AvatarbenchError):
    """What went wrong with a worker or its shim."""


class Closed(WorkerError):
    """The worker's process has ended."""


class Late(WorkerError):
    """No whole message within the deadline."""


class Channel:
    """Messages to and from ``process``, whose stdin and stdout are pipes."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a worker's stdin and stdout are pipes")
        self._process = process
        self._to, self._from = process.stdin.fileno(), process.stdout.fileno()
        for descriptor in (self._to, self._from):
            os.set_blocking(descriptor, False)
            if sys.platform == "linux":
                import fcntl

                with contextlib.suppress(OSError):  # beyond what this user may have: the pipe stays as it is
                    fcntl.fcntl(descriptor, _SET_PIPE_SIZE, PIPE_BYTES)

    def send(self, message: Message, deadline: float) -> None:
        """Write one message. ``deadline`` is of :func:`time.monotonic`. Raises Closed, Late, and WireError for what
        cannot be sent."""
        for buffer in encode(message):
            view = memoryview(buffer)
            while len(view):
                try:
                    view = view[os.write(self._to, view) :]
                except BlockingIOError:
                    self._wait(self._to, select.POLLOUT, deadline)
                except BrokenPipeError as error:
                    raise Closed("the worker reads no more") from error

    def receive(self, deadline: float) -> Message:
        """The next message. Raises Closed, Late, and WireError for what is none."""

        def fill(view: memoryview) -> None:
            while len(view):
                view = view[self._read(view, deadline) :]

        return decode(fill)

    def _read(self, view: memoryview, deadline: float) -> int:
        while True:
            try:
                if count := os.readv(self._from, [view]):
                    return count
                raise Closed("the worker has closed its pipe")
            except BlockingIOError:
                self._wait(self._from, select.POLLIN, deadline)

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        """Until the pipe can be used. Raises Closed where the process has ended and left nothing in it, and Late."""
        poll: Any = select.poll()
        poll.register(descriptor, event)
        while True:
            left = deadline - time.monotonic()
            ended = self._process.poll() is not None  # asked first: what it wrote last is in the pipe by then
            if poll.poll(max(0.0, 0.0 if ended else min(left, SLICE)) * 1000):
                return
            if ended:
                raise Closed("the worker has ended")
            if left <= 0:
                raise Late("no answer within its time")
