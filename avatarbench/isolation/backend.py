"""What every backend does, and the one of a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from avatarbench.isolation.build import Step
from avatarbench.isolation.recipe import REPO, Recipe


@dataclass(frozen=True)
class Launch:
    """A command to be started in a built environment.

    ``argv[0]`` "python" is the environment's own. ``cwd`` exists; ``writable`` and ``read_only`` are absolute paths
    that exist; ``variables`` come on top of the recipe's; ``terminal``: a person types into it.
    """

    argv: tuple[str, ...]
    cwd: Path
    writable: tuple[Path, ...] = ()
    read_only: tuple[Path, ...] = ()
    variables: Mapping[str, str] | None = None
    network: bool = False
    terminal: bool = False


@dataclass(frozen=True)
class Command:
    """What to execute: arguments, the whole environment, and the command that ends what a kill of it would leave.

    ``tidies``: it unmounts what it mounted once that which it runs has ended, and does not where it is killed itself.
    """

    argv: list[str]
    variables: dict[str, str]
    end: tuple[str, ...] = ()
    tidies: bool = False


@dataclass(frozen=True)
class Guard:
    """What really keeps the process in, in words, for the record: network, files, memory, threads."""

    network: str
    files: str
    memory: str
    threads: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class Backend(Protocol):
    """One way to have an environment. ``folder`` is the environment's own, where it keeps what it builds."""

    def why_not(self, recipe: Recipe) -> list[str]:
        """What this machine lacks for it, each with what to do; empty where it works."""

    def version(self) -> str:
        """The tool that does the work, with its version, for ``env doctor``; "" where it is not here."""

    def steps(self, recipe: Recipe, folder: Path, repository: Path | None) -> list[Step]:
        """The commands that build it."""

    def is_there(self, name: str, folder: Path) -> bool:
        """Whether what was built can still be used."""

    def python(self, folder: Path) -> str:
        """The environment's own interpreter, for people to read."""

    def command(self, recipe: Recipe, folder: Path, launch: Launch) -> Command:
        """How to start something in it."""

    def guard(self, recipe: Recipe, network: bool) -> Guard:
        """What holds for a command started with the network as said."""

    def size(self, name: str, folder: Path) -> int | None:
        """Bytes that it takes outside its folder; None where that cannot be asked."""

    def remove(self, name: str, folder: Path) -> None:
        """Remove what it holds outside its folder. Raises BuildError where that fails."""


_CLASSES = {
    "venv": "avatarbench.isolation.venv:Venv",
    "conda": "avatarbench.isolation.conda:Conda",
    "docker": "avatarbench.isolation.docker:Docker",
    "apptainer": "avatarbench.isolation.apptainer:Apptainer",
}


def backend(name: str) -> Backend:
    """The backend of that name, one of recipe.BACKENDS."""
    module, _, attribute = _CLASSES[name].partition(":")
    made: Backend = getattr(import_module(module), attribute)()
    return made


def expand(command: tuple[str, ...], repository: str) -> tuple[str, ...]:
    """A command of ``Recipe.build`` with the place of the repository filled in."""
    return tuple(argument.replace(REPO, repository) for argument in command)
