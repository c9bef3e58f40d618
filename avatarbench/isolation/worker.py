"""The worker: runs a method's shim in an environment of its own and answers the harness over two pipes.

For any Python from 3.8, with the standard library and numpy. It imports nothing of avatarbench and is copied into
foreign environments with wire.py and descendants.py: ``python worker.py SHIM.py``.
"""

from __future__ import annotations

import faulthandler
import importlib.util
import os
import platform
import random
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

import descendants
from wire import LOG, LOG_DONE, LOG_LIMIT, VERSION, WireError, decode, encode

# numpy is imported inside functions: what it prints as it loads must not reach the pipe, which is not moved by then.

if TYPE_CHECKING:
    Message = dict[str, Any]

SPOOLED = 1 << 16
"""Bytes from which an array of an announced motion is a picture."""


class Unscorable(Exception):
    """Raised by a shim for a motion that cannot be followed (no face in it): costs the frame, is not tried again."""


# The streams


class Wire:
    """The two pipes to the harness, of which a shim knows nothing."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming, self._outgoing = os.fdopen(incoming, "rb", 0), outgoing
        self._lock = threading.Lock()
        self.busy = threading.Event()

    def receive(self) -> Message | None:
        """The next message; None where the harness has closed the pipe."""
        try:
            return decode(self._fill)
        except EOFError:
            return None

    def _fill(self, buffer: Any) -> None:
        while len(buffer):
            count = self._incoming.readinto(buffer)
            if not count:
                raise EOFError
            buffer = buffer[count:]

    def send(self, message: Message) -> None:
        """Write one message whole. Where nobody reads any more, the worker and what it started end."""
        buffers = encode(message)
        with self._lock:
            try:
                for buffer in buffers:
                    view = memoryview(buffer)
                    while len(view):
                        view = view[os.write(self._outgoing, view) :]
            except BrokenPipeError:
                end_group()

    def beat(self, period: float) -> None:
        """A sign of life every ``period`` seconds while a request is worked on."""
        while True:
            self.busy.wait()
            time.sleep(period)
            if self.busy.is_set():
                self.send({"type": "beat"})


def end_group() -> None:
    """End this process and all that it started: what bears its mark, and its group where that is its own."""
    descendants.end(os.environ.get(descendants.MARK, ""))
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def take_streams(job: str) -> Wire:
    """Keep stdin and stdout for the wire, and give everything else nothing to read and the log to write to."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if os.getpgrp() != os.getpid():
        os.setsid()
    with open(os.path.join(job, LOG), "ab"):  # from now on the harness waits for the end of the log
        pass
    reader, writer = os.pipe()
    worker = os.getpid()
    if os.fork() == 0:
        try:
            for descriptor in (incoming, outgoing, writer):
                os.close(descriptor)
            keep_log(reader, job, worker)
        finally:  # never on into the worker's own code
            os._exit(0)
    os.close(reader)
    for number in (1, 2):
        os.dup2(writer, number)
    os.close(writer)
    # New ones, since what was a file may have become a pipe.
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", 1, "utf-8", "backslashreplace", closefd=False)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # type: ignore[misc]
    faulthandler.enable(all_threads=False)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # from outside it kills as others do: what is raised is the shim's own
    return Wire(incoming, outgoing)


def keep_log(reader: int, job: str, worker: int) -> None:
    """In a process of its own, which a flood cannot block and which outlives a crash: write the log, within its limit.

    Ends with the last writer, or soon after the worker, and then ends all that the worker has left running.
    """
    job_mark = os.environ.get(descendants.MARK, "")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    path, size, over = os.path.join(job, LOG), 0, 0.0
    while True:
        ready = select.select([reader], [], [], 0.1)[0]
        data = os.read(reader, 1 << 16) if ready else b""
        if ready and not data:
            break
        if data:
            size = _append(path, data, size)
        if os.getppid() != worker:  # others may hold the pipe for ever
            over = over or time.monotonic() + 1
            if not data or time.monotonic() > over:
                break
    try:
        with open(os.path.join(job, LOG_DONE), "wb"):
            pass
    except OSError:  # the job folder is gone: nobody reads the log
        pass
    while os.getppid() == worker:  # the worker has closed its output and works on
        time.sleep(0.1)
    descendants.end(job_mark)
    if os.getpgrp() == worker:
        os.killpg(0, signal.SIGKILL)


def _append(path: str, data: bytes, size: int) -> int:
    """The log's size afterwards."""
    try:
        if size > LOG_LIMIT:
            os.replace(path, path + ".1")
            size = 0
        with open(path, "ab") as log:
            log.write(data)
    except OSError:  # a full disk must not stop the method
        pass
    return size + len(data)


def die_with_parent() -> None:
    """Where Linux is beneath, the end of the harness ends this process even in the middle of C code."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
    except (ImportError, OSError, AttributeError):  # another system: the closed pipe has to do
        pass


# The work

_WIRE: Wire | None = None


def say(text: Any) -> None:
    """Tell the harness what is going on, from a shim: shown while it lasts, and in the error of a timeout."""
    if _WIRE is None:
        print(text)
    else:
        _WIRE.send({"type": "say", "text": str(text)[:2000]})


def seed_everything(value: int) -> None:
    """Seed the global generators, those of torch where it is imported, as the harness does in its own process."""
    import numpy as np

    random.seed(value)
    np.random.seed(value)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(value)


def peak_memory_mib() -> float:
    """The highest resident memory of this process, or of one that it started and that has ended."""
    import resource

    unit = 1024 if sys.platform == "darwin" else 1
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    try:
        with open("/proc/self/status") as status:  # getrusage would count the harness, from which this was forked
            own = next(float(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return max(own, children) / 1024


class Announced:
    """Motions as they come: their pictures go to a file of the job folder without a name, and are mapped from there
    when all have come. So they take memory where the shim looks at them, which the system may take back."""

    def __init__(self, job: str) -> None:
        self._job, self._file = job, None  # type: str, Any
        self._motions: list[tuple[Message, dict[str, Any]]] = []

    def add(self, motion: Message) -> None:
        import numpy as np

        places = {}
        for name, value in motion.items():
            if isinstance(value, np.ndarray) and value.nbytes >= SPOOLED:
                self._file = self._file or tempfile.TemporaryFile(dir=self._job)  # noqa: SIM115  (until all have come)
                places[name] = (-(-self._file.tell() // 64) * 64, value.shape, value.dtype)
                self._file.seek(places[name][0])  # where any dtype can begin
                self._file.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        self._motions.append(({name: value for name, value in motion.items() if name not in places}, places))

    def take(self) -> list[Message]:
        """All of them, with arrays that may be written to; afterwards there are none."""
        import mmap

        import numpy as np

        mapped: Any = None
        if self._file is not None:
            self._file.flush()
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
            self._file.close()
        motions = self._motions
        self._file, self._motions = None, []
        return [
            dict(rest, **{n: np.ndarray(shape, dtype, mapped, at) for n, (at, shape, dtype) in places.items()})
            for rest, places in motions
        ]


class Server:
    """One shim, from the greeting to the end of the pipe."""

    def __init__(self, wire: Wire, shim: str, job: str) -> None:
        self._wire, self._path, self._job = wire, shim, job
        self._shim: Any = None
        self._announced = Announced(job)

    def serve(self) -> None:
        while True:
            message = self._wire.receive()
            if message is None:  # the harness is gone
                end_group()
            elif message["type"] == "exit":
                return
            elif message["type"] == "motion":
                self._announced.add(message["motion"])
            else:
                self._serve(message)

    def _serve(self, message: Message) -> None:
        self._wire.busy.set()
        start = time.perf_counter()
        try:
            answer: Message = {"type": "done", "value": self._work(message)}
        except BaseException as error:  # a shim is anybody's code: parsers of command lines raise SystemExit, some stop
            # by KeyboardInterrupt, and a cancelled task's error is no Exception
            traceback.print_exc()
            answer = self._failure(error)
        self._wire.busy.clear()
        answer.update(id=message["id"], memory_mib=peak_memory_mib(), seconds=time.perf_counter() - start)
        try:
            self._wire.send(answer)
        except WireError as error:  # what the shim gave
            answer.pop("value", None)
            what = Unscorable(f"{message['type']}() returned what cannot be sent: {error}")
            self._wire.send({**answer, **self._failure(what)})

    def _failure(self, error: BaseException) -> Message:
        unscorable = isinstance(error, Unscorable)
        text = str(error) if unscorable else f"{type(error).__name__}: {error}"
        return {"type": "failed", "error": text[:4000], "where": _where(error, self._job), "unscorable": unscorable}

    def _work(self, message: Message) -> Any:
        kind = message["type"]
        if kind == "hello":
            return self._greet(message)
        seed_everything(message["seed"])
        if kind == "build":
            return _numbers(self._shim.build(message["portrait"]))
        if kind == "announce":
            motions = self._announced.take()
            if hasattr(self._shim, "announce"):
                self._shim.announce(motions)
            return None
        if kind == "render":
            return self._image(self._shim.render(message["motion"]))
        raise WireError(f"an unknown request '{kind}'")

    def _greet(self, message: Message) -> Message:
        import numpy as np

        if message["version"] != VERSION:
            raise WireError(f"this worker speaks version {VERSION}, the harness {message['version']}")
        if message["die_with_parent"]:
            die_with_parent()
        seed_everything(0)
        threading.Thread(target=self._wire.beat, args=(float(message["beat"]),), daemon=True).start()
        spec = importlib.util.spec_from_file_location("shim", self._path)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        sys.modules["shim"] = module
        spec.loader.exec_module(module)  # type: ignore[union-attr]
        self._shim = module.Shim(message["options"], self._job)
        return {
            "version": VERSION,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pid": os.getpid(),
            "announces": hasattr(self._shim, "announce"),
        }

    def _image(self, image: Any) -> Any:
        import numpy as np

        if isinstance(image, (str, os.PathLike)):
            path = os.path.realpath(os.path.join(self._job, os.fspath(image)))
            home = os.path.realpath(self._job) + os.sep
            # Relative, since the harness may see the job folder under another name.
            return {"path": path[len(home) :] if path.startswith(home) else os.fspath(image)}
        if not isinstance(image, np.ndarray):
            raise Unscorable(f"render() returned {type(image).__name__}, not a numpy array")
        return {"image": image}


def _numbers(info: Any) -> dict[str, float]:
    return {str(name): float(value) for name, value in (info or {}).items()}


def _where(error: BaseException, job: str) -> str:
    """The innermost place in the shim or in what lies beside it."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(job)]
    frames = [f for f in frames if os.path.basename(f.filename) != "worker.py"]
    return f"{os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}" if frames else ""


def main() -> None:
    global _WIRE
    job = os.path.dirname(os.path.abspath(__file__))
    _WIRE = take_streams(job)
    sys.modules["worker"] = sys.modules["__main__"]  # a shim's ``import worker`` is this one
    Server(_WIRE, os.path.join(job, sys.argv[1]), job).serve()


if __name__ == "__main__":
    main()
