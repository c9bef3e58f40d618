"""What images of docker and apptainer have in common: the folder they are built from, and how files are shown inside.

An image holds a virtual environment of the recipe's Python that uv makes in it, in ``/opt/avatarbench``, whatever else
its base holds. Everything else keeps inside the path that it has outside.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path

from avatarbench.errors import UsageError
from avatarbench.isolation import interpreters
from avatarbench.isolation.backend import Launch, expand
from avatarbench.isolation.native import cache_variables, gpu_variables, thread_variables
from avatarbench.isolation.recipe import Recipe

HOME = "/opt/avatarbench"
PREFIX = f"{HOME}/venv"
PYTHON = f"{PREFIX}/bin/python"
REPOSITORY = f"{HOME}/repo"
UV_CONFIG = f"{HOME}/uv.toml"
CHOSEN_CONFIG = "AVATARBENCH_UV_CONFIG"
"""Names a file of uv's settings, such as where CUDA builds of torch are found, for the build of an image alone."""

_UV_VARIABLES = {
    "UV_CONFIG_FILE": UV_CONFIG,
    "UV_PYTHON_INSTALL_DIR": f"{HOME}/python",  # not below root's home, which the run's user may not read
    "UV_NO_CACHE": "1",
    "UV_LINK_MODE": "copy",
}


def base_image(recipe: Recipe) -> str:
    """The recipe's, or the plain image of its Python, which has git and compilers."""
    return recipe.image or f"python:{recipe.python}"


def lacks_of_image(recipe: Recipe) -> list[str]:
    """What keeps any image from being built here."""
    lacks = []
    if interpreters.uv() is None:
        lacks.append("no uv here, which puts Python and packages into an image: pip install uv")
    if recipe.conda_packages and not recipe.image:
        lacks.append(
            "the recipe names no image that would bring what its conda packages do "
            f"({', '.join(recipe.conda_packages)}): use the backend conda"
        )
    return lacks


def image_commands(recipe: Recipe, repository: bool) -> list[tuple[str, ...]]:
    """The commands that fill an image, in order. ``repository``: the checkout is there, at :data:`REPOSITORY`."""
    uv = f"{HOME}/uv"
    commands: list[tuple[str, ...]] = []
    if system := _system_packages(recipe):
        commands += [
            ("apt-get", "update"),
            ("apt-get", "install", "--yes", "--no-install-recommends", *system),
        ]
    commands.append((uv, "venv", "--no-project", "--seed", "--python", recipe.python, PREFIX))
    if recipe.packages:
        commands.append((uv, "pip", "install", "--python", PYTHON, "--requirements", f"{HOME}/requirements.txt"))
    return commands + [inside(expand(command, REPOSITORY)) for command in recipe.build]


def _system_packages(recipe: Recipe) -> tuple[str, ...]:
    """The recipe's, and git where something is installed from a repository."""
    lines = [*recipe.packages, *(argument for command in recipe.build for argument in command)]
    git = ("ca-certificates", "git") if any("git+" in line for line in lines) else ()
    return tuple(dict.fromkeys((*recipe.system_packages, *git)))


def inside(argv: tuple[str, ...]) -> tuple[str, ...]:
    """``python`` and ``pip`` as those of the image's environment."""
    first, *rest = argv
    if first in ("python", "python3"):
        return (PYTHON, *rest)
    return (PYTHON, "-m", "pip", *rest) if first == "pip" else argv


def build_variables(recipe: Recipe) -> dict[str, str]:
    """Set for every command of the build. No graphics card is there then, so their kinds are told as the user says."""
    kinds = {name: os.environ[name] for name in ("TORCH_CUDA_ARCH_LIST", "MAX_JOBS") if name in os.environ}
    return kinds | dict(recipe.variables) | _UV_VARIABLES


def write_context(recipe: Recipe, context: Path) -> None:
    """The folder that an image is built from: uv itself, the requirements, and places for what is only shown to it."""
    tool = interpreters.uv()
    if tool is None:
        raise UsageError("; ".join(lacks_of_image(recipe)))
    (context / "repo").mkdir(parents=True, exist_ok=True)
    shutil.copy2(tool.resolve(), context / "uv")
    (context / "uv.toml").touch()
    (context / "requirements.txt").write_text("".join(f"{line}\n" for line in recipe.packages), encoding="utf-8")


def uv_config() -> Path | None:
    """The file that AVATARBENCH_UV_CONFIG names. Raises UsageError where it does not exist."""
    chosen = os.environ.get(CHOSEN_CONFIG)
    if not chosen:
        return None
    path = Path(chosen).expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"{CHOSEN_CONFIG} names {path}, which is no file: correct or unset the variable.")
    return path


def mounts(launch: Launch, scratch: Path) -> list[str]:
    """``--mount`` arguments, each path inside as outside; the deeper of two comes later, and so lies on top.

    The value is a line of CSV, so that a comma in a path stays in it.
    """
    writable = {*launch.writable, scratch}
    chosen = dict.fromkeys(writable, "") | {path: "ro" for path in launch.read_only if path not in writable}
    if not any(launch.cwd == path or path in launch.cwd.parents for path in chosen):
        chosen[launch.cwd] = "ro"
    arguments = []
    for path, option in sorted(chosen.items(), key=lambda item: (len(item[0].parts), item[0])):
        fields = ["type=bind", f"source={path}", f"destination={path}", *([option] if option else [])]
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(fields)
        arguments += ["--mount", line.getvalue()]
    return arguments


def run_variables(recipe: Recipe, launch: Launch, scratch: Path) -> dict[str, str]:
    """The environment inside, on top of the image's. The home folder is the environment's cache."""
    chosen = (
        {"CUDA_VISIBLE_DEVICES": os.environ["CUDA_VISIBLE_DEVICES"]} if "CUDA_VISIBLE_DEVICES" in os.environ else {}
    )
    return {
        **chosen,
        "HOME": str(scratch),
        **cache_variables(scratch),
        **thread_variables(recipe),
        **gpu_variables(recipe),
        **recipe.variables,
        **(launch.variables or {}),
    }
