"""Backend ``conda``: a prefix in the environment's folder, made by micromamba, mamba or conda, then filled by pip."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from avatarbench.isolation.backend import Command, Guard, Launch, expand
from avatarbench.isolation.build import BuildError, Step
from avatarbench.isolation.native import native_command, native_guard, resolve, search_path
from avatarbench.isolation.recipe import Recipe

TOOLS = ("micromamba", "mamba", "conda")
"""The fastest first."""
CHANNEL = "conda-forge"


class Conda:
    """The environment is ``conda`` in its folder: a prefix, known to no list of environments by name."""

    def why_not(self, recipe: Recipe) -> list[str]:
        if tool() is not None:
            return []
        return [f"none of {', '.join(TOOLS)} is on PATH: install one of them, or use another backend"]

    def version(self) -> str:
        found = tool()
        if found is None:
            return ""
        done = subprocess.run([str(found), "--version"], capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        return f"{found.name} {lines[0].removeprefix(found.name).strip()}" if lines else found.name

    def steps(self, recipe: Recipe, folder: Path, repository: Path | None) -> list[Step]:
        found = tool()
        if found is None:
            raise BuildError("; ".join(self.why_not(recipe)))
        prefix, requirements = folder / "conda", folder / "requirements.txt"
        make = (str(found), "create", "--yes", "--prefix", str(prefix), "--override-channels", "--channel", CHANNEL)
        steps = [
            Step("python", (*make, f"python={recipe.python}", "pip", *recipe.conda_packages), folder, fresh=(prefix,))
        ]
        variables = dict(recipe.variables) | {"PATH": search_path(prefix)} | _variables(prefix)
        if recipe.packages:
            install = (str(prefix / "bin" / "python"), "-m", "pip", "install", "--no-input")
            argv: tuple[str, ...] = (*install, "--requirement", str(requirements))
            text = {requirements: "".join(f"{line}\n" for line in recipe.packages)}
            steps.append(Step("packages", argv, folder, (*argv, "--force-reinstall"), writes=text, variables=variables))
        for number, command in enumerate(recipe.build, 1):
            argv = tuple(resolve(expand(command, str(repository)), prefix))
            steps.append(Step(f"build {number}", argv, repository or folder, variables=variables))
        return steps

    def is_there(self, name: str, folder: Path) -> bool:
        return (folder / "conda" / "bin" / "python").exists()

    def python(self, folder: Path) -> str:
        return str(folder / "conda" / "bin" / "python")

    def command(self, recipe: Recipe, folder: Path, launch: Launch) -> Command:
        prefix = folder / "conda"
        return native_command(recipe, folder, prefix, launch, _variables(prefix))

    def guard(self, recipe: Recipe, network: bool) -> Guard:
        return native_guard(recipe, network)

    def size(self, name: str, folder: Path) -> int | None:
        return 0

    def remove(self, name: str, folder: Path) -> None:
        """All of it is in its folder."""


def tool() -> Path | None:
    """The first of micromamba, mamba and conda that is on PATH."""
    return next((Path(found) for name in TOOLS if (found := shutil.which(name))), None)


def _variables(prefix: Path) -> dict[str, str]:
    """What activating the prefix would set, as far as compilers and libraries go by it."""
    cuda = {"CUDA_HOME": str(prefix)} if (prefix / "bin" / "nvcc").exists() else {}
    return {"CONDA_PREFIX": str(prefix), **cuda}
