"""One worker process: started in its environment with a job folder, asked, and ended with all that it started."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from avatarbench.errors import Unscorable, writable
from avatarbench.isolation import descendants, wire
from avatarbench.isolation.client import Channel, Closed, Late, Message, WorkerError
from avatarbench.isolation.wire import WireError

WORKER = Path(__file__).with_name("worker.py")
BESIDE = (Path(wire.__file__), Path(descendants.__file__))
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP}
"""Signals that a process brings upon itself. Any other comes from outside."""
TAIL_LINES = 5
TAIL_CHARACTERS = 300
GRACE = 5.0
"""Seconds that a worker has to end by itself where it was asked to."""
BEAT = 1.0
_ADDRESSES = re.compile(r"0x[0-9a-f]{4,}")
_OURS = re.compile(r'^\s*File "worker\.py"|^Extension modules:|^(Current t|T)hread 0x')


class Killed(WorkerError):
    """A signal from outside ended the worker: it says nothing of the method."""


class Crashed(WorkerError):
    """The worker ended by itself, by a crash or an exit, before it answered."""


class TimedOut(WorkerError):
    """The worker was ended by us: no answer within its time."""


class Garbled(WorkerError):
    """The worker sent what is no message, and was ended."""


class ShimFailed(WorkerError):
    """The shim raised. The worker goes on, unless ``poisoned``: a process that CUDA failed in computes no more."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.poisoned = "CUDA error" in message


class Startable(Protocol):
    """What a worker needs of an environment."""

    def start(
        self, argv: Sequence[str], *, job: Path, read_only: Sequence[Path], variables: Mapping[str, str], network: bool
    ) -> subprocess.Popen[bytes]: ...

    def describe(self) -> Mapping[str, Any]:
        """For a run's record."""


@dataclass(frozen=True)
class Job:
    """What a worker is started with. ``files`` are copied beside ``shim``; ``read_only``: what else it reads."""

    shim: Path
    files: tuple[Path, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    read_only: tuple[Path, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    network: bool = False


class Worker:
    """A worker that has greeted. ``folder`` is its job folder, which must be empty."""

    def __init__(
        self,
        environment: Startable,
        job: Job,
        folder: Path,
        timeout: float,
        hear: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Start it and wait for its greeting, ``timeout`` seconds at most. ``hear`` is told what the shim says.

        Raises WorkerError, with the process gone.
        """
        for path in (WORKER, *BESIDE, job.shim, *job.files):
            shutil.copyfile(path, folder / path.name)
        self.folder = folder
        self._hear, self._count, self._said, self._sign = hear, 0, "", time.monotonic()
        self.busy = False
        self.peak_memory_mib = 0.0
        self._process = environment.start(
            ["python", str(folder / WORKER.name), job.shim.name],
            job=folder,
            read_only=job.read_only,
            variables={**job.variables, descendants.MARK: str(folder)},
            network=job.network,
        )
        self._channel = Channel(self._process)
        try:
            self.greeting: dict[str, Any] = self.ask(
                "hello",
                timeout,
                version=wire.VERSION,
                options=dict(job.options),
                beat=BEAT,
                # The kernel ends the worker with the thread that started it, which may be a short-lived one.
                die_with_parent=threading.current_thread() is threading.main_thread(),
            )
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def post(self, kind: str, timeout: float, **body: Any) -> None:
        """Send what has no answer. Raises WorkerError, with the process gone."""
        self._exchange(kind, timeout, {"type": kind, **body}, answered=False)

    def ask(self, kind: str, timeout: float, **body: Any) -> Any:
        """Send a request and return what the shim gave. Raises Unscorable where it says so, and WorkerError: ShimFailed
        with the process as it was, any other with the process gone."""
        self._count += 1
        answer = self._exchange(kind, timeout, {"type": kind, "id": self._count, **body}, answered=True)
        self.peak_memory_mib = max(self.peak_memory_mib, answer["memory_mib"])
        if answer["type"] == "done":
            return answer.get("value")
        text = writable(str(answer.get("error")))
        if answer.get("unscorable"):
            raise Unscorable(text)
        raise ShimFailed(f"{text} ({where})" if (where := answer.get("where")) else text)

    def _exchange(self, kind: str, timeout: float, message: Message, answered: bool) -> Message:
        self.busy, self._said, self._sign = True, "", time.monotonic()
        deadline = self._sign + timeout
        try:
            self._channel.send(message, deadline)
            answer = self._answer(message, deadline) if answered else {}
        except Closed:
            raise self._died(kind) from None
        except Late:
            signs = self._last_signs()  # before its end, which takes a container longer than a few beats
            self.kill()
            raise TimedOut(f"{kind} took more than {timeout:g} s and was stopped{signs}{self._log_says()}") from None
        except WireError as error:
            self.kill()
            raise Garbled(f"the worker sent {error}; it was ended{self._log_says()}") from None
        self.busy = False
        return answer

    def _answer(self, message: Message, deadline: float) -> Message:
        while True:
            answer = self._channel.receive(deadline)
            self._sign = time.monotonic()
            if answer["type"] == "say":
                self._said = writable(str(answer.get("text", "")))
                self._hear(self._said)
            elif answer["type"] in ("done", "failed") and answer.get("id") == message["id"]:
                if type(answer.get("memory_mib")) is not float:
                    raise WireError(f"an answer whose memory is {str(answer.get('memory_mib'))[:80]!r}")
                return answer
            elif answer["type"] != "beat":
                raise WireError(
                    f"an answer of type '{answer['type']}' to request {answer.get('id')}, not {message['id']}"
                )
            if self._sign > deadline:  # what is there already is received without a wait, so one that talks on and on
                raise Late("no answer within its time")

    def _died(self, kind: str) -> WorkerError:
        """What ended it, once the log is whole."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        code = self._process.poll()
        if code is None:
            self.kill()
            return Garbled(f"the worker closed its pipe in the middle of {kind} and was ended{self._log_says()}")
        number = -code if code < 0 else code - 128  # a container's client or a shell reports 128 + the signal
        known = {s.value: s for s in signal.Signals}
        if number in known and known[number] not in CRASHES:
            self.kill()
            return Killed(f"the worker was killed from outside ({known[number].name}) in the middle of {kind}")
        how = f"crashed ({known[number].name})" if number in known else f"ended with exit code {code}"
        self._wait_for_log()
        self.kill()
        return Crashed(f"the worker {how} in the middle of {kind}{self._log_says()}")

    def kill(self, *, gently: bool = False) -> None:
        """End it with all that it started; ``gently``: let it end by itself first, where it is idle."""
        if gently and not self.busy and self._process.poll() is None:
            with contextlib.suppress(WorkerError, subprocess.TimeoutExpired):
                self._channel.send({"type": "exit"}, time.monotonic() + GRACE)
                self._process.wait(GRACE)
        if self._process.poll() is None and getattr(self._process, "tidies", False):
            descendants.end(str(self.folder))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE)
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)  # it alone at first: its log is being written by another
            self._process.wait()
            self._wait_for_log()
        self._process.kill()  # a container, where it is one
        # The worker leads a group of its own, in which its children outlive it.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        descendants.end(str(self.folder))  # and those that left the group
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # unwritten bytes for a reader that is gone
                    stream.close()

    def _wait_for_log(self) -> None:
        until = time.monotonic() + 2
        while not (self.folder / wire.LOG_DONE).exists() and (self.folder / wire.LOG).exists():
            if time.monotonic() > until:
                return
            time.sleep(0.01)

    def _last_signs(self) -> str:
        # No figures: frames that fail alike are counted together by their reason.
        alive = time.monotonic() - self._sign < 3 * BEAT
        state = "it was at work" if alive else "without a sign of life: in code that lets no other run, or stopped"
        said = f"; it last said '{self._said}'" if self._said else ""
        return f" ({state}{said})"

    def _log_says(self) -> str:
        lines = self.tail()
        return f"; the log ends: {' | '.join(lines)}" if lines else "; its log is empty"

    def tail(self) -> list[str]:
        """The last lines of what the worker printed, or else of what its start did."""
        for path in (self.folder / wire.LOG, *sorted(self.folder.glob("*stderr*"))):
            with contextlib.suppress(OSError), path.open("rb") as stream:
                stream.seek(max(0, path.stat().st_size - (8 << 10)))
                if lines := last_lines(stream.read().decode("utf-8", "replace"), self.folder):
                    return lines
        return []


def last_lines(text: str, folder: Path) -> list[str]:
    """The last lines of a log, in few words: without our own frames of a traceback, and without addresses and the job
    folder's name, which differ from one run to the next, where equal reasons are counted together."""
    text = _ADDRESSES.sub("0x", text.replace(f"{folder}/", ""))
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^~") and not _OURS.search(line)]
    kept: list[str] = []
    for line in reversed(lines[-TAIL_LINES:]):
        kept.insert(0, line[:TAIL_CHARACTERS])
        if sum(map(len, kept)) > TAIL_CHARACTERS:
            break
    return kept
