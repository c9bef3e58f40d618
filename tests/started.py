"""The command line in a process of its own, without waiting for its imports: forked from one that has them already.

Most of what a short ``avatarbench`` call costs is importing torch and MediaPipe. A server imports the packages of
others once, and of ours only what every call imports first, so that a module of ours that forgets an import still
fails. Each call is a fork with its own folder, environment and streams; it runs ``avatarbench.__main__`` and ends as
any process does.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import site
import subprocess
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

PRELOADED = ("torch", "anny", "mediapipe", "cv2", "PIL.Image", "av", "numba", "scipy.spatial", "hydra", "rich.table")
"""Not pyarrow: it starts a thread as it is imported, and only the thread that forks goes on in a fork."""
OUTPUTS = ("stdout", "stderr")
AT_START = ("PYTHON", "OMP_", "NUMBA_", "MKL_", "OPENBLAS_", "LD_", "TORCH_")
"""Variables that are read when an interpreter or a library starts, which is too early for a call to set them."""


class Call:
    """A call under way, with what ``subprocess.Popen`` offers under the same names."""

    def __init__(self, server: subprocess.Popen[bytes], arguments: list[str], folder: TemporaryDirectory[str]) -> None:
        self.arguments = arguments
        self.returncode: int | None = None
        self._server, self._folder = server, folder
        self.pid = _number(server)

    def poll(self, timeout: float | None = 0) -> int | None:
        """Its exit code, or None where it has not ended in ``timeout`` seconds; None waits for as long as it takes."""
        assert self._server.stdout is not None
        if self.returncode is None and select.select([self._server.stdout], [], [], timeout)[0]:
            self.returncode = _number(self._server)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self.poll(None)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Its stdout and stderr once it has ended. Raises TimeoutExpired, having killed it."""
        if self.poll(timeout) is None:
            self.kill()
            raise subprocess.TimeoutExpired(["avatarbench", *self.arguments], timeout or 0)
        stdout, stderr = ((Path(self._folder.name) / name).read_text() for name in OUTPUTS)
        return stdout, stderr


class Server:
    """Starts with its first call, and has one at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._call: Call | None = None

    def start(self, arguments: list[str], cwd: Path, env: dict[str, str], sites: Sequence[Path] = ()) -> Call:
        """``avatarbench ARGUMENTS`` in ``cwd`` with the variables ``env`` and no others. ``sites``: further folders of
        installed packages, as an interpreter finds them when it starts."""
        for name in env.keys() | os.environ.keys():
            if name.startswith(AT_START) and env.get(name) != os.environ.get(name):
                raise ValueError(f"{name} is read as a process starts: use subprocess.run.")
        if self._call is not None and self._call.poll() is None:
            raise RuntimeError(f"'avatarbench {' '.join(self._call.arguments)}' has not ended.")
        if self._process is None:
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                [sys.executable, __file__], bufsize=0, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
            )
        folder = TemporaryDirectory()
        job = {"arguments": arguments, "cwd": str(cwd), "env": env, "folder": folder.name, "sites": [*map(str, sites)]}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._call = Call(self._process, arguments, folder)
        return self._call

    def end_call(self) -> None:
        """Kill what a test that failed has left running."""
        if self._call is not None:
            self._call.kill()

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()  # its input ends, and so does it


def _number(server: subprocess.Popen[bytes]) -> int:
    """The server's next answer: a call's process id, then its exit code."""
    assert server.stdout is not None
    if line := server.stdout.readline():
        return int(line)
    raise RuntimeError(f"the server of the command line ended with {server.wait()}.")


def serve() -> list[str] | None:
    """Fork for every job. Returns its arguments in the fork, and None in the server once there are no more."""
    for name in (*PRELOADED, "avatarbench.cli"):
        importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise RuntimeError(f"{threads} threads after the imports: one of {', '.join(PRELOADED)} starts its own.")
    gc.collect()
    gc.freeze()  # or a fork's collector would touch, and so copy, every object of the server
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    for line in sys.stdin.buffer:
        job = json.loads(line)
        if (pid := os.fork()) == 0:
            answers.close()
            become(job["cwd"], job["env"], Path(job["folder"]))
            for site_folder in job["sites"]:
                site.addsitedir(site_folder)
            return list(job["arguments"])
        answers.write(b"%d\n" % pid)
        answers.write(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return None


def become(cwd: str, env: dict[str, str], folder: Path) -> None:
    """Take on what a new process would have been given."""
    streams = [os.open(os.devnull, os.O_RDONLY), *(os.open(folder / n, os.O_WRONLY | os.O_CREAT) for n in OUTPUTS)]
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.modules["numpy"].random.seed()  # each process has its own


def run(arguments: list[str]) -> NoReturn:
    """``python -m avatarbench ARGUMENTS`` to its end, less the second that taking torch apart takes."""
    sys.argv[1:] = arguments
    code: object = None
    try:
        runpy.run_module("avatarbench", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # as the interpreter ends on anything: a traceback and 1
        traceback.print_exc()
        code = 1
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__" and (arguments := serve()) is not None:
    run(arguments)
