"""Environments by recipe: built once, found again, started in."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from avatarbench.errors import UsageError
from avatarbench.isolation import interpreters, store
from avatarbench.isolation.backend import Backend, Guard, Launch, backend
from avatarbench.isolation.build import BuildError, Lines, Progress, run_steps
from avatarbench.isolation.container import base_image
from avatarbench.isolation.given import Given
from avatarbench.isolation.recipe import BACKENDS, Recipe

EXAMINE_SECONDS = 120
END_SECONDS = 30
STDERR = "stderr.log"
LONGEST_TMPDIR = 60

# Runs in the environment, so in any Python from 3.8 on.
_EXAMINE = """
import json, sys
from importlib.metadata import distributions
found = sorted({(d.metadata["Name"] or "?") + "==" + d.version for d in distributions()}, key=str.lower)
print(json.dumps({"python": ".".join(map(str, sys.version_info[:3])), "packages": found}))
"""


class Process(subprocess.Popen[bytes]):
    """A started command, at the head of its own process group."""

    end_command: tuple[str, ...] = ()
    tidies = False
    """As :class:`avatarbench.isolation.backend.Command` has it."""

    def kill(self) -> None:
        """Kill it, whatever it started, and a container that would outlive its client."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        if self.end_command:
            with suppress(
                subprocess.TimeoutExpired, OSError
            ):  # a daemon that does not answer must not keep a run from its end
                subprocess.run(
                    self.end_command, stdin=subprocess.DEVNULL, capture_output=True, timeout=END_SECONDS, check=False
                )
            self.end_command = ()


@dataclass(frozen=True)
class Environment:
    """A built environment. ``python``: its own interpreter; ``packages``: ``name==version`` of all that it holds."""

    name: str
    recipe: Recipe
    folder: Path
    python: str
    python_version: str
    packages: tuple[str, ...]
    built: str
    seconds: float
    backend: Backend

    @property
    def packages_digest(self) -> str:
        """sha256 of the list of packages."""
        return hashlib.sha256("\n".join(self.packages).encode()).hexdigest()

    def guard(self, network: bool | None = None) -> Guard:
        """What keeps a process in that is started now."""
        return self.backend.guard(self.recipe, self.recipe.network if network is None else network)

    def describe(self) -> dict[str, object]:
        """For a run's record: plain values."""
        images = self.recipe.backend in ("docker", "apptainer") and not isinstance(self.backend, Given)
        return {
            "name": self.name,
            "backend": self.recipe.backend,
            "python": self.python,
            "python_version": self.python_version,
            "packages": list(self.packages),
            "packages_digest": self.packages_digest,
            "image": base_image(self.recipe) if images else "",
            "isolation": self.guard().as_dict(),
        }

    def start(
        self,
        argv: Sequence[str],
        *,
        job: Path,
        read_only: Sequence[Path] = (),
        variables: Mapping[str, str] | None = None,
        network: bool | None = None,
        cwd: Path | None = None,
        stderr: int | IO[bytes] | None = None,
    ) -> Process:
        """Start a command with pipes to its stdin and stdout, and stderr to ``stderr.log`` in the job folder.

        ``argv[0]`` "python" is the environment's own. ``job`` is writable, and where it starts unless ``cwd`` says
        otherwise; ``read_only`` paths can be read. ``network`` None: as the recipe says. What is enforced is what
        :meth:`guard` says. Raises UsageError where a path does not exist, BuildError where it cannot be started.
        """
        job, cwd = job.resolve(), (cwd or job).resolve()
        paths = [path.resolve() for path in read_only]
        for path in (job, cwd, *paths):
            if not path.exists():
                raise UsageError(f"{path} does not exist, so nothing in the environment {self.name} can use it.")
        temporary = job / "tmp"
        temporary.mkdir(exist_ok=True)
        # Python's multiprocessing makes sockets below it, whose paths end at 107 characters: else the system's folder.
        short = {"TMPDIR": str(temporary)} if len(str(temporary)) <= LONGEST_TMPDIR else {}
        launch = Launch(
            tuple(argv),
            cwd,
            (job,),
            tuple(paths),
            {**short, **(variables or {})},
            self.recipe.network if network is None else network,
        )
        command = self.backend.command(self.recipe, self.folder, launch)
        opened = (job / STDERR).open("ab") if stderr is None else None
        try:
            with store.in_use(self.folder.name) as using:
                process = Process(
                    command.argv,
                    env=command.variables,
                    cwd=cwd,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=opened or stderr,
                    start_new_session=True,
                    pass_fds=(using,),
                )
        except OSError as error:
            raise BuildError(f"{self.name}: {command.argv[0]} cannot be started: {error.strerror}.") from error
        finally:
            if opened:
                opened.close()
        process.end_command, process.tidies = command.end, command.tidies
        return process


def why_not(recipe: Recipe, repository: Path | None = None) -> list[str]:
    """What stops this environment from being built or used here, each with what to do; empty where nothing does."""
    if find(recipe) is not None:
        return []
    lacks = backend(recipe.backend).why_not(recipe)
    if recipe.wants_repository and (repository is None or not repository.is_dir()):
        at = f" ({repository} is no folder)" if repository else ""
        lacks.append(f"its build needs the checkout of {recipe.repository or recipe.method}: name it with --repo{at}")
    return lacks


def find(recipe: Recipe) -> Environment | None:
    """The built environment of a recipe, or None. Cheap for venv and conda: a file is read."""
    folder, used = store.folder(recipe.name), backend(recipe.backend)
    ready = store.read(folder / store.READY)
    if ready.get("name") != recipe.name or not used.is_there(recipe.name, folder):
        return None
    return Environment(
        recipe.name,
        recipe,
        folder,
        used.python(folder),
        str(ready["python_version"]),
        tuple(ready["packages"]),
        str(ready["built"]),
        float(ready["seconds"]),
        used,
    )


def ensure(recipe: Recipe, *, repository: Path | None = None, progress: Progress | None = None) -> Environment:
    """The recipe's environment, built if need be: once, however many processes ask, going on where a kill stopped it.

    Raises BuildError with all that is missing here, or with the last lines of the build's log and its path.
    """
    progress = progress or Lines()
    if (found := find(recipe)) is not None:
        return found
    if lacks := why_not(recipe, repository):
        raise BuildError("\n  - ".join([f"the environment {recipe.name} cannot be built here:", *lacks]))
    name, folder = recipe.name, store.folder(recipe.name)
    with store.locked(name, progress.say) as lock:
        if (found := find(recipe)) is not None:  # by the process that had the lock
            return found
        folder.mkdir(parents=True, exist_ok=True)
        if not backend(recipe.backend).is_there(name, folder):  # what was built is gone since, whatever the marks say
            for mark in (store.READY, store.MARKS):
                (folder / mark).unlink(missing_ok=True)
        start = time.monotonic()
        store.write(folder / store.RECIPE, {"name": name, **asdict(recipe)})
        run_steps(name, backend(recipe.backend).steps(recipe, folder, repository), lock, progress)
        seconds = time.monotonic() - start
        facts = _examine(recipe, folder)
        store.write(
            folder / store.READY,
            {
                "name": name,
                "method": recipe.method,
                "backend": recipe.backend,
                "python_version": facts["python"],
                "packages": facts["packages"],
                "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seconds": round(seconds, 1),
            },
        )
    made = find(recipe)
    if made is None:
        raise BuildError(f"the environment {name} was built, and is gone again: {folder} was changed meanwhile.")
    return made


def given(recipe: Recipe, python: Path) -> Environment:
    """An environment that the user has already, by its interpreter: nothing is built, and its packages are its own.

    Raises UsageError where that is no Python, or not of the recipe's version.
    """
    python = python.expanduser().absolute()
    version = interpreters.version_of(python)
    if version is None:
        raise UsageError(f"{python} is no Python that starts: name the interpreter of the method's environment.")
    if not f"{version}.".startswith(f"{recipe.python}."):
        raise UsageError(f"{python} is Python {version}, and {recipe.method} needs {recipe.python}.")
    key = hashlib.sha256(str(python).encode()).hexdigest()[:12]
    folder = store.root() / ".given" / f"{recipe.method}-{key}"
    folder.mkdir(parents=True, exist_ok=True)
    used = Given(python)
    facts = _examine(recipe, folder, used)
    packages = tuple(map(str, facts["packages"]))
    return Environment(f"{recipe.method}-given", recipe, folder, str(python), version, packages, "", 0.0, used)


def remove(name: str) -> None:
    """Remove a built or half-built environment, its image included.

    Raises UsageError where there is none of that name, it is being built, or something runs in it; BuildError where
    docker does not remove its image.
    """
    folder = store.folder(name)
    if name not in store.names():
        raise UsageError(f"there is no environment '{name}' in {store.root()}: `avatarbench env list` shows them.")
    try:
        with store.locked(name):
            if store.is_in_use(name):
                held = ", ".join(store.users(name)) or "a process that cannot be named here"
                raise UsageError(f"something runs in the environment {name}, {held}: let it end first, then remove it.")
            used = str(store.read(folder / store.RECIPE).get("backend", ""))
            if used in BACKENDS:
                backend(used).remove(name, folder)
            store.delete(name)
    except BlockingIOError:
        raise UsageError(f"the environment {name} is being built: stop that first, then remove it.") from None


def _examine(recipe: Recipe, folder: Path, used: Backend | None = None) -> dict[str, list[str]]:
    """What the environment really holds. Raises BuildError where its Python does not start."""
    launch = Launch(("python", "-c", _EXAMINE), folder)
    command = (used or backend(recipe.backend)).command(recipe, folder, launch)
    try:
        done = subprocess.run(
            command.argv, env=command.variables, capture_output=True, text=True, timeout=EXAMINE_SECONDS, check=True
        )
        found: dict[str, list[str]] = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        raise BuildError(f"the Python of {recipe.name} does not start: {error.stderr.strip()[-500:]}") from error
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise BuildError(f"the Python of {recipe.name} does not start: {error}") from error
    return found
