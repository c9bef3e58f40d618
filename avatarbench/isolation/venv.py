"""Backend ``venv``: a virtual environment of any Python of this machine, made by uv, or by venv and pip."""

from __future__ import annotations

import subprocess
from pathlib import Path

from avatarbench.isolation import interpreters
from avatarbench.isolation.backend import Command, Guard, Launch, expand
from avatarbench.isolation.build import BuildError, Step
from avatarbench.isolation.native import native_command, native_guard, resolve, search_path
from avatarbench.isolation.recipe import Recipe


class Venv:
    """The environment is ``venv`` in its folder, made there and never moved: its programs name their Python by path."""

    def why_not(self, recipe: Recipe) -> list[str]:
        lacks = []
        if interpreters.find(recipe.python) is None:
            lacks.append(
                f"no Python {recipe.python} on this machine: install it (uv python install {recipe.python}, or your "
                "system's package), or use another backend"
            )
        if recipe.conda_packages:
            lacks.append(f"a venv has no conda packages, and it asks for {', '.join(recipe.conda_packages)}")
        return lacks

    def version(self) -> str:
        if tool := interpreters.uv():
            done = subprocess.run([str(tool), "--version"], capture_output=True, text=True, check=False)
            return done.stdout.strip()
        return "venv and pip (no uv here, which is faster)"

    def steps(self, recipe: Recipe, folder: Path, repository: Path | None) -> list[Step]:
        prefix, requirements = folder / "venv", folder / "requirements.txt"
        found, uv = interpreters.find(recipe.python), interpreters.uv()
        if found is None:
            raise BuildError("; ".join(self.why_not(recipe)))
        inside, base = str(prefix / "bin" / "python"), str(found)
        variables = dict(recipe.variables) | {"PATH": search_path(prefix), "VIRTUAL_ENV": str(prefix)}
        if uv:
            # uv needs no pip; the commands of a build may.
            seed = ("--seed",) if any("pip" in command for command in recipe.build) else ()
            make = (str(uv), "venv", "--no-project", *seed, "--python", base, str(prefix))
            install = (str(uv), "pip", "install", "--python", inside, "--requirements", str(requirements))
            again = (*install, "--reinstall")
        else:
            make = (base, "-m", "venv", str(prefix))
            install = (inside, "-m", "pip", "install", "--no-input", "--requirement", str(requirements))
            again = (*install, "--force-reinstall")
        steps = [Step("python", make, folder, fresh=(prefix,))]
        if recipe.packages:
            text = {requirements: "".join(f"{line}\n" for line in recipe.packages)}
            steps.append(Step("packages", install, folder, again, writes=text, variables=variables))
        for number, command in enumerate(recipe.build, 1):
            argv = tuple(resolve(expand(command, str(repository)), prefix))
            steps.append(Step(f"build {number}", argv, repository or folder, variables=variables))
        return steps

    def is_there(self, name: str, folder: Path) -> bool:
        return (folder / "venv" / "bin" / "python").exists()  # False for a link to a Python that was removed

    def python(self, folder: Path) -> str:
        return str(folder / "venv" / "bin" / "python")

    def command(self, recipe: Recipe, folder: Path, launch: Launch) -> Command:
        prefix = folder / "venv"
        return native_command(recipe, folder, prefix, launch, {"VIRTUAL_ENV": str(prefix)})

    def guard(self, recipe: Recipe, network: bool) -> Guard:
        return native_guard(recipe, network)

    def size(self, name: str, folder: Path) -> int | None:
        return 0

    def remove(self, name: str, folder: Path) -> None:
        """All of it is in its folder."""
