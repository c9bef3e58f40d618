"""Backend ``docker``: an image tagged with the environment's name, and one container a process."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from functools import cache
from pathlib import Path

from avatarbench.isolation import container, store
from avatarbench.isolation.backend import Command, Guard, Launch
from avatarbench.isolation.build import BuildError, Step
from avatarbench.isolation.recipe import Recipe

ASK_SECONDS = 30
SHARED_MEMORY = "8g"
"""Of /dev/shm: the 64 MB that docker gives are too few for torch's loaders."""


class Docker:
    """Only the image is outside the environment's folder; it is named after it."""

    def why_not(self, recipe: Recipe) -> list[str]:
        lacks = container.lacks_of_image(recipe)
        if shutil.which("docker") is None:
            return [*lacks, "docker is not installed (no docker on PATH): install it, or use another backend"]
        answer = _ask("info", "--format", "{{json .}}")
        if answer.returncode or not _server_version(answer.stdout):
            why = _complaint(answer)
            lacks.append(
                f"docker's daemon does not answer ({why}): start it (systemctl start docker), or ask to be added to "
                "its group, or use another backend"
            )
        elif not _builds(recipe):
            lacks.append(
                "docker lacks its builder, buildx: install docker-buildx-plugin (docker's packages) or docker-buildx "
                "(Debian's, Ubuntu's), and with docker before 23 run `docker buildx install`, or use another backend"
            )
        return lacks

    def version(self) -> str:
        if shutil.which("docker") is None:
            return ""
        version = _server_version(_ask("info", "--format", "{{json .}}").stdout)
        return f"docker {version}" if version else ""

    def steps(self, recipe: Recipe, folder: Path, repository: Path | None) -> list[Step]:
        context = folder / "context"
        container.write_context(recipe, context)
        (context / "Dockerfile").write_text(dockerfile(recipe, repository is not None), encoding="utf-8")
        show = ("--build-context", f"repository={repository}") if repository else ()
        config = container.uv_config()
        secret = ("--secret", f"id=uv,src={config}") if config else ()
        argv = ("docker", "build", "--progress", "plain", "--tag", tag(recipe.name), *show, *secret, str(context))
        return [Step("image", argv, folder, variables={"DOCKER_BUILDKIT": "1"})]

    def is_there(self, name: str, folder: Path) -> bool:
        return shutil.which("docker") is not None and _ask("image", "inspect", tag(name)).returncode == 0

    def python(self, folder: Path) -> str:
        return f"{container.PYTHON} in the image"

    def command(self, recipe: Recipe, folder: Path, launch: Launch) -> Command:
        scratch = folder / "cache"
        scratch.mkdir(parents=True, exist_ok=True)
        container_name = f"avatarbench-{secrets.token_hex(6)}"
        user = "0:0" if _rootless() else f"{os.getuid()}:{os.getgid()}"
        limits = [*(["--memory", f"{recipe.memory_gib:g}g"] if recipe.memory_gib else [])]
        limits += ["--cpus", str(recipe.threads)] if recipe.threads else []
        variables = container.run_variables(recipe, launch, scratch)
        argv = [
            *("docker", "run", "--rm", "--init", "--interactive", "--name", container_name, "--user", user),
            *(["--tty"] if launch.terminal else []),
            *("--read-only", "--tmpfs", "/tmp:exec", "--shm-size", SHARED_MEMORY),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *([] if launch.network else ["--network", "none"]),
            *(["--gpus", "all"] if recipe.gpu else []),
            *limits,
            *container.mounts(launch, scratch),
            *("--workdir", str(launch.cwd)),
            *(part for item in variables.items() for part in ("--env", "=".join(item))),
            *("--entrypoint", container.inside(launch.argv)[0]),
            tag(recipe.name),
            *container.inside(launch.argv)[1:],
        ]
        return Command(argv, dict(os.environ), end=("docker", "rm", "--force", container_name))

    def guard(self, recipe: Recipe, network: bool) -> Guard:
        return Guard(
            network="open: the recipe asks for it" if network else "cut off",
            files="only what is mounted, all of it read-only but the job folder and the environment's cache",
            memory=f"{recipe.memory_gib:g} GiB, by a control group" if recipe.memory_gib else "no limit asked for",
            threads=f"{recipe.threads} processors, by a control group" if recipe.threads else "no limit asked for",
        )

    def size(self, name: str, folder: Path) -> int | None:
        if shutil.which("docker") is None:
            return None
        answer = _ask("image", "inspect", "--format", "{{.Size}}", tag(name))
        return int(answer.stdout) if answer.returncode == 0 and answer.stdout.strip().isdigit() else None

    def remove(self, name: str, folder: Path) -> None:
        if not (folder / store.READY).exists():  # no build of it ended, so no image has its name
            return
        if shutil.which("docker") is None:
            raise BuildError(f"the image {tag(name)} cannot be removed: docker is not installed any more.")
        answer = _ask("image", "rm", tag(name))
        if answer.returncode and "no such image" not in answer.stderr.lower():
            raise BuildError(
                f"the image {tag(name)} was not removed, so nothing was: {_complaint(answer)}. Once docker answers, "
                f"remove the environment again."
            )


def tag(name: str) -> str:
    """The image of an environment."""
    return f"avatarbench/{name}"


def dockerfile(recipe: Recipe, repository: bool) -> str:
    """The text that the image is built by. Every command is an argument list, none goes through a shell.

    The checkout and uv's settings are only shown to the commands: neither is left in the image.
    """
    show = f"--mount=type=secret,id=uv,target={container.UV_CONFIG} "
    if repository:
        show += f"--mount=type=bind,from=repository,target={container.REPOSITORY},rw "
    lines = [f"FROM {container.base_image(recipe)}", "USER root", f"COPY . {container.HOME}/"]
    lines += [f"ENV {name}={_quoted(value)}" for name, value in container.build_variables(recipe).items()]
    lines.append(f'ENV PATH="{container.PREFIX}/bin:$PATH" DEBIAN_FRONTEND=noninteractive')
    lines += [f"RUN {show}{json.dumps(command)}" for command in container.image_commands(recipe, repository)]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    """For ENV, which fills in variables between double quotes."""
    for character in ("\\", '"', "$"):
        value = value.replace(character, f"\\{character}")
    return f'"{value}"'


def _ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    """One question to the daemon. A client that cannot be started, or hears nothing, is an answer with a complaint."""
    command = ["docker", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer in {ASK_SECONDS} s")
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, "", f"docker cannot be started: {error.strerror}")


def _builds(recipe: Recipe) -> bool:
    """A build is buildx's. Until 23 it was docker's own, which shows it no checkout, unless it was told otherwise."""
    major = _ask("version", "--format", "{{.Client.Version}}").stdout.partition(".")[0].strip()
    if major.isdigit() and int(major) < 23:
        return not recipe.wants_repository or "--build-context" in _ask("build", "--help").stdout
    return _ask("buildx", "version").returncode == 0


def _complaint(answer: subprocess.CompletedProcess[str]) -> str:
    """The last line that says what is wrong; docker info says it on stdout, within its JSON."""
    try:
        told = json.loads(answer.stdout).get("ServerErrors") or []
    except (ValueError, AttributeError):
        told = []
    lines = [line.strip() for line in [*answer.stderr.splitlines(), *map(str, told)] if line.strip()]
    return (lines[-1] if lines else f"exit code {answer.returncode}").removesuffix(".")


def _server_version(text: str) -> str:
    try:
        return str(json.loads(text).get("ServerVersion") or "")
    except (ValueError, AttributeError):  # an older client's answer, or none
        return ""


@cache
def _rootless() -> bool:
    """Whether root inside is this user outside, as in docker's rootless mode."""
    return "name=rootless" in _ask("info", "--format", "{{json .SecurityOptions}}").stdout
