"""Builds an environment step by step, so that a killed build goes on at the step that it was in."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from avatarbench.errors import AvatarbenchError
from avatarbench.isolation import store
from avatarbench.isolation.build_log import BuildLog
from avatarbench.isolation.sandbox import mortal_command

LAST_LINES = 15
POLL_SECONDS = 0.1
LINGER_SECONDS = 1.0
_OURS = ("PYTHONPATH", "PYTHONHOME", "PYTHONPYCACHEPREFIX", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV")


class BuildError(AvatarbenchError):
    """An environment that cannot be built, with the last lines of the log and where the whole of it is."""


@dataclass(frozen=True)
class Step:
    """One command of a build.

    ``again`` is run instead where an earlier build was killed in this step; ``fresh`` are paths that are removed before
    it, whole folders included; ``writes`` are files that it reads, written before it. ``variables`` are added to ours.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    again: tuple[str, ...] = ()
    fresh: tuple[Path, ...] = ()
    writes: Mapping[Path, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


class Progress(Protocol):
    """What is told while an environment is built."""

    def say(self, text: str) -> None: ...

    def step(self, name: str, number: int, total: int) -> None: ...

    def line(self, text: str) -> None: ...


class Lines:
    """One line a step, on stderr."""

    def say(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def step(self, name: str, number: int, total: int) -> None:
        self.say(f"  step {number} of {total}: {name}")

    def line(self, text: str) -> None:
        """What the installers print is in the log."""


def run_steps(name: str, steps: Sequence[Step], lock: int, progress: Progress) -> None:
    """Run what is not marked as done, in order, marking each. ``lock``: a descriptor that every command inherits.

    Raises BuildError where a command fails or cannot be started.
    """
    folder = store.folder(name)
    progress.say(f"building the environment {name}; its log: {folder / store.LOG}")
    marks = store.read(folder / store.MARKS)
    done: list[str] = [step for step in marks.get("done", []) if isinstance(step, str)]
    begun = marks.get("begun")
    for number, step in enumerate(steps, 1):
        progress.step(step.name, number, len(steps))
        if step.name in done:
            continue
        store.write(folder / store.MARKS, {"done": done, "begun": step.name})
        for path in step.fresh:
            _remove_below(path, folder)
        for path, text in step.writes.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        argv = step.again if step.again and begun == step.name else step.argv
        _run(name, step, argv, lock, progress)
        done = [*done, step.name]
        store.write(folder / store.MARKS, {"done": done})


def _remove_below(path: Path, folder: Path) -> None:
    if folder not in path.parents:
        raise ValueError(f"{path} is not below {folder}")
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _run(name: str, step: Step, argv: Sequence[str], lock: int, progress: Progress) -> None:
    title = f"== {time.strftime('%Y-%m-%d %H:%M:%S')} {step.name}: {' '.join(argv)}\n"
    with BuildLog(store.folder(name) / store.LOG, title) as log:
        try:
            process = subprocess.Popen(
                mortal_command(argv, step.cwd),
                env=build_variables(step.variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lock,),
            )
        except OSError as error:
            raise BuildError(f"{name}: {argv[0]} cannot be started: {error.strerror}. Log: {log.path}") from error
        try:
            _watch(process, log, progress)
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        last = log.last_lines(LAST_LINES) or "(nothing was printed)"
    if process.returncode:
        how = f"exit code {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
        raise BuildError(
            f"the environment {name} could not be built: its step '{step.name}' ended with {how}. "
            f"The last lines of its log:\n\n{last}\n\nThe whole log: {log.path}\n"
            "Building it again goes on at this step."
        )


def _watch(process: subprocess.Popen[bytes], log: BuildLog, progress: Progress) -> None:
    """Keep what it prints until it ends. What it started may hold the pipe for longer, and is not waited for."""
    told = over = 0.0
    assert process.stdout is not None  # it was started with a pipe
    with process.stdout as pipe:
        while True:
            if process.poll() is not None:
                over = over or time.monotonic()
            ready = select.select([pipe], [], [], 0.0 if over else POLL_SECONDS)[0]
            data = os.read(pipe.fileno(), 1 << 16) if ready else b""
            try:
                log.write(data)
            except OSError as error:
                raise BuildError(
                    f"{log.path} cannot be written: {error.strerror}. Make room, and build again."
                ) from error
            if over and (not data or time.monotonic() - over > LINGER_SECONDS):
                return
            if ready and not data:  # it has closed its output and works on
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
            if time.monotonic() - told > POLL_SECONDS:
                told = time.monotonic()
                progress.line(log.last_lines(1))


def build_variables(more: Mapping[str, str]) -> dict[str, str]:
    """Our variables, which say how the network and compilers are reached, without what belongs to our Python."""
    return {name: value for name, value in os.environ.items() if name not in _OURS} | dict(more)
