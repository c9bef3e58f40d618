"""Shared fixtures. Assets come from the registry through our own code; features and runs go to temporary folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from avatarbench import assets
from avatarbench.cli.doctor import DEMO_ASSETS
from tests.started import Call, Server

# Two workers share two cores; torch's threads of both would wait for each other. Set before anything imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]

# Where bytecode may not be written, each of the hundred processes that tests start would compile torch's sources anew,
# for seconds: it is kept apart then, out of the tree and of the environment.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(ROOT / ".pytest_cache" / "bytecode")
    sys.dont_write_bytecode = False

# A shell's background job ignores interrupts, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]
Started = Callable[..., Call]


@pytest.fixture(scope="session", autouse=True)
def _feature_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A feature cache of the session's own, so that no test passes on what an earlier session computed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVATARBENCH_FEATURES", str(tmp_path_factory.mktemp("features") / "features.sqlite3"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _assets() -> None:
    """What networks and the embedded clip read in the tests' own processes, where no runner fetches it, whichever test
    comes first."""
    assets.pull_all(DEMO_ASSETS)


def call(
    command: list[str], cwd: Path, env: dict[str, str] | None = None, timeout: float = 300, columns: int = 250
) -> Done:
    environment = {**os.environ, "COLUMNS": str(columns), **(env or {})}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="session")
def _server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def started(tmp_path: Path, _server: Server) -> Iterator[Started]:
    """The command line as a user runs it, in an empty folder and a process of its own, while it runs."""

    def start(*arguments: str | Path, env: dict[str, str] | None = None, cwd: Path = tmp_path) -> Call:
        return _server.start([*map(str, arguments)], cwd, {**os.environ, "COLUMNS": "250", **(env or {})})

    yield start
    _server.end_call()


@pytest.fixture
def cli(started: Started) -> Cli:
    """The same until it has ended: ``cli("run", "-m", ...)``."""

    def run(*arguments: str | Path, env: dict[str, str] | None = None, timeout: float = 300) -> Done:
        call = started(*arguments, env=env)
        stdout, stderr = call.communicate(timeout)
        assert call.returncode is not None
        return Done(call.arguments, call.returncode, stdout, stderr)

    return run


@dataclass(frozen=True)
class Installed:
    """An environment outside the checkout that holds our wheel and the plugin of ``tests/plugin``."""

    bin: Path
    wheel: Path

    def python(self, *arguments: str, cwd: Path) -> Done:
        return call([str(self.bin / "python"), *arguments], cwd)

    def cli(self, *arguments: str, cwd: Path) -> Done:
        return call([str(self.bin / "avatarbench"), *arguments], cwd)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    # From what git tracks, so that neither a stale build folder nor an untracked file reaches the wheel.
    files = _check(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], folder
    ).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    _check([sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(folder), str(source)], folder)
    wheel = next(folder.glob("avatarbench-*.whl"))
    _check([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], folder)
    python = folder / "venv" / "bin" / "python"
    site = Path(_check([str(python), "-c", "import site; print(site.getsitepackages()[0])"], folder).stdout.strip())
    # A .pth file brings the dependencies; the .pth of our own editable install is not followed from there.
    ours = next(p for p in map(Path, sys.path) if p.name == "site-packages")
    (site / "dependencies.pth").write_text(f"{ours}\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    _check([*pip, "--force-reinstall", str(wheel)], folder)
    _check([*pip, "--no-build-isolation", str(source / "tests" / "plugin")], folder)
    return Installed(python.parent, wheel)


def _check(command: list[str], cwd: Path) -> Done:
    done = call(command, cwd)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done
