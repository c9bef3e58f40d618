"""An environment that the user made: started in as a venv is, never built or removed."""

from __future__ import annotations

from pathlib import Path

from avatarbench.isolation.backend import Command, Guard, Launch
from avatarbench.isolation.build import Step
from avatarbench.isolation.native import native_command, native_guard
from avatarbench.isolation.recipe import Recipe


class Given:
    """By its interpreter, ``PREFIX/bin/python``."""

    def __init__(self, interpreter: Path) -> None:
        self._interpreter = interpreter

    def why_not(self, recipe: Recipe) -> list[str]:
        return [] if self._interpreter.exists() else [f"{self._interpreter} does not exist"]

    def version(self) -> str:
        return str(self._interpreter)

    def steps(self, recipe: Recipe, folder: Path, repository: Path | None) -> list[Step]:
        return []

    def is_there(self, name: str, folder: Path) -> bool:
        return self._interpreter.exists()

    def python(self, folder: Path) -> str:
        return str(self._interpreter)

    def command(self, recipe: Recipe, folder: Path, launch: Launch) -> Command:
        first, *rest = launch.argv
        argv = (str(self._interpreter) if first in ("python", "python3") else first, *rest)
        launch = Launch(
            argv, launch.cwd, launch.writable, launch.read_only, launch.variables, launch.network, launch.terminal
        )
        prefix = self._interpreter.parent.parent
        return native_command(recipe, folder, prefix, launch, {"CONDA_PREFIX": str(prefix)})

    def guard(self, recipe: Recipe, network: bool) -> Guard:
        return native_guard(recipe, network)

    def size(self, name: str, folder: Path) -> int | None:
        return 0

    def remove(self, name: str, folder: Path) -> None:
        """It is the user's."""
