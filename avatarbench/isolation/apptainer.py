"""Backend ``apptainer``: an image file in the environment's folder, for clusters that have no docker."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from avatarbench.isolation import container, sandbox, store
from avatarbench.isolation.backend import Command, Guard, Launch
from avatarbench.isolation.build import Step
from avatarbench.isolation.native import GIB
from avatarbench.isolation.recipe import Recipe

_DEFINITION = """Bootstrap: docker
From: {image}

%files
    context {home}

%post
    set -e
    export DEBIAN_FRONTEND=noninteractive PATH="{home}/venv/bin:$PATH"
    for step in {home}/steps/*; do
        xargs -0 -a "$step" env
    done
"""


class Apptainer:
    """An image that is built anew from its start where a build was killed: its file appears when it is whole."""

    def why_not(self, recipe: Recipe) -> list[str]:
        lacks = container.lacks_of_image(recipe)
        if shutil.which("apptainer") is None:
            lacks.append("apptainer is not installed (no apptainer on PATH): install it, or use another backend")
        if ":" in str(store.root()):  # between what is the home folder outside and inside
            lacks.append(
                f"apptainer can have no home folder in {store.root()}, for its colon: name another folder with "
                "AVATARBENCH_ENVIRONMENTS, or use another backend"
            )
        return lacks

    def version(self) -> str:
        if shutil.which("apptainer") is None:
            return ""
        done = subprocess.run(["apptainer", "--version"], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def steps(self, recipe: Recipe, folder: Path, repository: Path | None) -> list[Step]:
        context = folder / "context"
        container.write_context(recipe, context)
        shutil.rmtree(context / "steps", ignore_errors=True)
        (context / "steps").mkdir()
        variables = [f"{name}={value}" for name, value in container.build_variables(recipe).items()]
        for number, command in enumerate(container.image_commands(recipe, repository is not None)):
            # Read by xargs as separate arguments, so that no shell takes them apart.
            (context / "steps" / f"{number:03d}").write_bytes("\0".join([*variables, *command]).encode())
        definition = _DEFINITION.format(image=container.base_image(recipe), home=container.HOME)
        shown = [(repository, container.REPOSITORY), (container.uv_config(), container.UV_CONFIG)]
        binds = [part for source, target in shown if source for part in ("--bind", f"{source}:{target}")]
        argv = ("apptainer", "build", "--force", *binds, "image.sif", "image.def")
        return [Step("image", argv, folder, fresh=(image(folder),), writes={folder / "image.def": definition})]

    def is_there(self, name: str, folder: Path) -> bool:
        return image(folder).is_file() and shutil.which("apptainer") is not None

    def python(self, folder: Path) -> str:
        return f"{container.PYTHON} in {image(folder)}"

    def command(self, recipe: Recipe, folder: Path, launch: Launch) -> Command:
        scratch = folder / "cache"
        scratch.mkdir(parents=True, exist_ok=True)
        argv = [
            *("apptainer", "--quiet", "exec", "--contain", "--cleanenv"),
            *("--home", str(scratch)),  # HOME cannot be set otherwise
            *([] if launch.network else ["--net", "--network", "none"]),
            *(["--nv"] if recipe.gpu else []),
            *container.mounts(launch, scratch),
            *("--pwd", str(launch.cwd)),
            str(image(folder)),
            *container.inside(launch.argv),
        ]
        if recipe.memory_gib:
            argv = sandbox.limit_command(argv, int(recipe.memory_gib * GIB), launch.cwd)
        told = container.run_variables(recipe, launch, scratch) | {"PREPEND_PATH": f"{container.PREFIX}/bin"}
        del told["HOME"]
        # By variables and not by --env, which takes a comma in a value for the start of the next.
        variables = dict(os.environ) | {f"APPTAINERENV_{name}": value for name, value in told.items()}
        return Command(argv, variables, tidies=True)

    def guard(self, recipe: Recipe, network: bool) -> Guard:
        return Guard(
            network="open: the recipe asks for it" if network else "cut off",
            files="only what is mounted, all of it read-only but the job folder and the environment's cache",
            memory=sandbox.memory_guard(recipe.memory_gib),
            threads=f"{recipe.threads}, told to its libraries" if recipe.threads else "no limit asked for",
        )

    def size(self, name: str, folder: Path) -> int | None:
        return 0

    def remove(self, name: str, folder: Path) -> None:
        """All of it is in its folder."""


def image(folder: Path) -> Path:
    return folder / "image.sif"
