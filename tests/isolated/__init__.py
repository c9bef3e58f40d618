"""Methods in environments of their own, as tests have them: a shim that goes wrong on demand, and where it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avatarbench.isolation.method import IsolatedMethod
from avatarbench.isolation.process import Startable
from avatarbench.isolation.recipe import Recipe

HERE = Path(__file__).parent


class Interpreter:
    """A Python of this machine as it is, ours unless another is named: nothing is built and nothing is kept out."""

    process: type[subprocess.Popen[bytes]] = subprocess.Popen

    def __init__(self, python: str = sys.executable) -> None:
        self.python = python
        self.pids: list[int] = []

    def start(
        self, argv: Sequence[str], *, job: Path, read_only: Sequence[Path], variables: Mapping[str, str], network: bool
    ) -> subprocess.Popen[bytes]:
        with (job / "stderr.log").open("wb") as stderr:
            process = self.process(
                [self.python, *argv[1:]],
                cwd=job,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **variables},
                start_new_session=True,
            )
        self.pids.append(process.pid)
        return process

    def describe(self) -> Mapping[str, Any]:
        return {"name": "interpreter", "python": self.python}


class Faulty(IsolatedMethod):
    """``faults``: motion or portrait id -> what goes wrong there, each time; with ``once``, the beginning of a file's
    name, only the first time; with ``gate``, a file, only where that is there."""

    recipe = Recipe(method="faulty", python="{}.{}".format(*sys.version_info[:2]))
    shim = HERE / "faulty_shim.py"
    start_timeout = 60.0
    build_timeout = 30.0
    frame_timeout = 20.0
    announce_timeout = 10.0

    def __init__(self, interpreter: Startable | None = None, **options: Any) -> None:
        super().__init__(environment=interpreter or Interpreter(), options=options)

    @classmethod
    def obstacles(cls, **options: Any) -> Sequence[str]:
        return []

    @classmethod
    def prepare(cls, **options: Any) -> Sequence[str]:
        return []
