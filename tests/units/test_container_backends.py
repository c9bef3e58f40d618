"""What conda, docker and apptainer are asked to do, by programs of their names that note it and run what is asked."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from avatarbench.isolation import docker, environments, interpreters, store
from avatarbench.isolation.build import BuildError
from avatarbench.isolation.conda import Conda
from avatarbench.isolation.recipe import Recipe
from tests.units.environment_fixture import APPTAINER, DOCKER, MICROMAMBA, VERSION, Programs

NO_DAEMON = """
sys.stderr.write("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\\n")
sys.exit(1)
"""
ASK = "import os; print(os.getcwd(), os.environ['A'], os.environ['HOME'])"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """First on PATH, with what a shell needs after it and no other conda, docker or apptainer."""
    made = Programs(tmp_path / "bin")
    (tmp_path / "system").mkdir()
    for name in ("sh", "env", "sleep"):
        (tmp_path / "system" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", os.pathsep.join([str(made.folder), str(tmp_path / "system")]))
    monkeypatch.setenv("AVATARBENCH_ENVIRONMENTS", str(tmp_path / "store"))
    monkeypatch.delenv("AVATARBENCH_UV_CONFIG", raising=False)
    uv = tmp_path / "uv"
    uv.touch()
    monkeypatch.setattr(interpreters, "uv", lambda: uv)
    docker._rootless.cache_clear()
    return made


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        method="boxed",
        backend="docker",
        python=VERSION,
        packages=("numpy==1.26.4",),
        image="nvidia/cuda:11.8.0-devel-ubuntu22.04",
        system_packages=("libgl1",),
        build=(("pip", "install", "git+https://github.com/a/b"), ("python", "-c", "print('a b')", "{repo}/x")),
        gpu=True,
        memory_gib=12.5,
        threads=3,
        variables={"QUOTED": 'a "b" $c \\d'},
    )


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "a, b" / "job").mkdir(parents=True)
    return tmp_path / "a, b" / "job"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "checkout").mkdir()
    return tmp_path / "checkout"


def ask(recipe: Recipe, job: Path, checkout: Path) -> tuple[str, str]:
    """Build, start, and return what was printed with the cache folder."""
    env = environments.ensure(recipe, repository=checkout)
    process = env.start(["python", "-c", ASK], job=job, read_only=[checkout], variables={"A": "x,y=z"})
    answer = process.communicate(timeout=60)[0].decode().strip()
    assert process.returncode == 0, (job / "stderr.log").read_text()
    return answer, str(env.folder / "cache")


def test_docker_runs_without_network_on_what_is_mounted_as_this_user(
    programs: Programs, recipe: Recipe, job: Path, checkout: Path
) -> None:
    programs.add("docker", DOCKER)
    answer, cache = ask(recipe, job, checkout)
    assert answer == f"{job} x,y=z {cache}"
    (build,) = programs.calls("docker", "build")
    assert build[build.index("--tag") + 1] == f"avatarbench/{recipe.name}"
    assert build[build.index("--build-context") + 1] == f"repository={checkout}"
    env = environments.ensure(recipe)
    assert env.describe()["image"] == "nvidia/cuda:11.8.0-devel-ubuntu22.04"
    assert replace(env, recipe=replace(recipe, image="")).describe()["image"] == f"python:{VERSION}"
    run = programs.calls("docker", "run")[-1]
    assert run[run.index("--network") + 1] == "none"
    assert run[run.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert run[run.index("--gpus") + 1] == "all"
    assert run[run.index("--memory") + 1] == "12.5g"
    assert run[run.index("--cpus") + 1] == "3"
    assert {"--rm", "--interactive", "--read-only"} <= set(run)
    assert "--init" in run  # docker's own first process: it reaps what the worker's children leave behind
    assert "--tty" not in run
    mounted = [run[place + 1] for place, option in enumerate(run) if option == "--mount"]
    assert sorted(mounted) == sorted(
        [
            f'type=bind,"source={job}","destination={job}"',
            f"type=bind,source={checkout},destination={checkout},ro",
            f"type=bind,source={cache},destination={cache}",
        ]
    )


def test_a_killed_client_of_docker_takes_its_container_along(
    programs: Programs, recipe: Recipe, job: Path, checkout: Path
) -> None:
    programs.add("docker", DOCKER)
    env = environments.ensure(recipe, repository=checkout)
    process = env.start(["sh", "-c", "echo up; exec sleep 600"], job=job)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.communicate(timeout=60)
    run = programs.calls("docker", "run")[-1]
    assert programs.calls("docker", "rm") == [["docker", "rm", "--force", run[run.index("--name") + 1]]]


def test_a_daemon_that_does_not_answer_a_kill_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "END_SECONDS", 0.1)
    process = environments.Process(["true"])
    process.end_command = ("sleep", "60")
    process.wait()
    process.kill()
    assert process.end_command == ()


def test_a_dockerfile_holds_argument_lists_and_shows_the_checkout_without_keeping_it(recipe: Recipe) -> None:
    lines = docker.dockerfile(recipe, True).splitlines()
    assert lines[0] == "FROM nvidia/cuda:11.8.0-devel-ubuntu22.04"
    assert 'ENV QUOTED="a \\"b\\" \\$c \\\\d"' in lines
    runs = [line for line in lines if line.startswith("RUN ")]
    assert all("--mount=type=bind,from=repository,target=/opt/avatarbench/repo,rw" in line for line in runs)
    assert [line.partition("[")[2] for line in runs] == [
        '"apt-get", "update"]',
        '"apt-get", "install", "--yes", "--no-install-recommends", "libgl1", "ca-certificates", "git"]',
        f'"/opt/avatarbench/uv", "venv", "--no-project", "--seed", "--python", "{VERSION}", "/opt/avatarbench/venv"]',
        '"/opt/avatarbench/uv", "pip", "install", "--python", "/opt/avatarbench/venv/bin/python", "--requirements", '
        '"/opt/avatarbench/requirements.txt"]',
        '"/opt/avatarbench/venv/bin/python", "-m", "pip", "install", "git+https://github.com/a/b"]',
        '"/opt/avatarbench/venv/bin/python", "-c", "print(\'a b\')", "/opt/avatarbench/repo/x"]',
    ]


def test_settings_of_uv_are_shown_to_the_build_as_a_secret(
    programs: Programs, recipe: Recipe, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.add("docker", DOCKER)
    config = tmp_path / "uv.toml"
    config.touch()
    monkeypatch.setenv("AVATARBENCH_UV_CONFIG", str(config))
    environments.ensure(recipe, repository=checkout)
    (build,) = programs.calls("docker", "build")
    assert build[build.index("--secret") + 1] == f"id=uv,src={config}"


def test_without_a_daemon_docker_is_told_with_what_to_do(programs: Programs, recipe: Recipe, checkout: Path) -> None:
    programs.add("docker", NO_DAEMON)
    (lack,) = environments.why_not(recipe, checkout)
    assert lack.startswith("docker's daemon does not answer (Cannot connect to the Docker daemon at unix:///var/run/")
    assert "start it (systemctl start docker)" in lack
    assert "another backend" in lack
    with pytest.raises(BuildError, match="cannot be built here"):
        environments.ensure(recipe, repository=checkout)


@pytest.mark.parametrize(("version", "works"), [("20.10.24+dfsg1", True), ("28.2.2", False), ("", False)])
def test_docker_without_its_builder_is_told_before_a_build(
    programs: Programs, recipe: Recipe, checkout: Path, version: str, works: bool
) -> None:
    """The builder was part of docker before 23, but for what shows a checkout to a build."""
    known = f"if arguments[0] == 'version': print({version!r})\nelse: sys.exit(arguments[0] != 'info')\n"
    programs.add("docker", "arguments[0] == 'info' and print('{{\"ServerVersion\": \"1\"}}')\n" + known)
    (lack,) = environments.why_not(recipe, checkout)
    assert lack.startswith("docker lacks its builder, buildx: install docker-buildx-plugin")
    assert (environments.why_not(replace(recipe, build=()), checkout) == []) == works


@pytest.mark.parametrize("installed", [True, False])
def test_an_older_docker_shows_a_checkout_only_once_its_build_is_that_of_buildx(
    programs: Programs, recipe: Recipe, checkout: Path, installed: bool
) -> None:
    helped = "--build-context stringArray" if installed else "--file string"
    programs.add(
        "docker",
        "if arguments[0] == 'info': print('{{\"ServerVersion\": \"1\"}}')\n"
        "elif arguments[0] == 'version': print('20.10.24')\n"
        f"elif arguments == ['build', '--help']: print({helped!r})\n",
    )
    lacks = environments.why_not(recipe, checkout)
    assert ["`docker buildx install`" in lack for lack in lacks] == ([] if installed else [True])


def test_apptainer_is_not_asked_for_a_home_folder_that_it_cannot_have(
    programs: Programs, recipe: Recipe, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.add("apptainer", "")
    asked = replace(recipe, backend="apptainer")
    assert environments.why_not(asked, checkout) == []
    monkeypatch.setenv("AVATARBENCH_ENVIRONMENTS", str(tmp_path / "12:30"))
    (lack,) = environments.why_not(asked, checkout)
    assert str(tmp_path / "12:30") in lack
    assert "AVATARBENCH_ENVIRONMENTS" in lack


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        ("docker", "docker is not installed (no docker on PATH)"),
        ("apptainer", "apptainer is not installed (no apptainer on PATH)"),
        ("conda", "none of micromamba, mamba, conda is on PATH"),
    ],
)
def test_a_program_that_is_missing_is_named(
    programs: Programs, recipe: Recipe, checkout: Path, backend: str, told: str
) -> None:
    (lack,) = environments.why_not(recipe.using(backend), checkout)
    assert lack.startswith(told)
    assert "use another backend" in lack


def test_an_image_that_docker_lost_is_built_again_and_one_that_is_removed_is_removed_there(
    programs: Programs, recipe: Recipe, checkout: Path
) -> None:
    programs.add("docker", DOCKER)
    environments.ensure(recipe, repository=checkout)
    Path(f"{programs.folder / 'calls'}.tags").write_text("")
    assert environments.find(recipe) is None
    environments.ensure(recipe, repository=checkout)
    assert len(programs.calls("docker", "build")) == 2
    environments.remove(recipe.name)
    assert programs.calls("docker", "image", "rm") == [["docker", "image", "rm", f"avatarbench/{recipe.name}"]]
    assert store.names() == []


def test_apptainer_runs_without_network_on_what_is_mounted(
    programs: Programs, recipe: Recipe, job: Path, checkout: Path
) -> None:
    programs.add("apptainer", APPTAINER)
    recipe = replace(recipe, backend="apptainer", memory_gib=None)
    answer, cache = ask(recipe, job, checkout)
    assert answer == f"{job} x,y=z {cache}"
    (build,) = programs.calls("apptainer", "build")
    assert build[build.index("--bind") + 1] == f"{checkout}:/opt/avatarbench/repo"
    run = programs.calls("apptainer", "--quiet", "exec")[-1]
    assert run[run.index("--net") : run.index("--net") + 3] == ["--net", "--network", "none"]
    assert {"--contain", "--cleanenv", "--nv"} <= set(run)
    assert f"type=bind,source={checkout},destination={checkout},ro" in run
    folder = store.folder(recipe.name)
    assert "From: nvidia/cuda:11.8.0-devel-ubuntu22.04\n" in (folder / "image.def").read_text()
    first = (folder / "context" / "steps" / "000").read_text().split("\0")
    assert first[-2:] == ["apt-get", "update"]
    assert 'QUOTED=a "b" $c \\d' in first


def test_apptainers_memory_is_limited_from_outside(
    programs: Programs, recipe: Recipe, job: Path, checkout: Path
) -> None:
    programs.add("apptainer", APPTAINER)
    recipe = replace(recipe, backend="apptainer", memory_gib=4.0)
    assert ask(recipe, job, checkout)[0].startswith(str(job))


def test_conda_makes_a_prefix_with_its_own_packages_and_then_pips(
    programs: Programs, recipe: Recipe, job: Path, tmp_path: Path
) -> None:
    programs.add("micromamba", MICROMAMBA)
    programs.add("conda", "sys.exit('slower')")
    recipe = Recipe(method="conda", backend="conda", python=VERSION, conda_packages=("cuda-nvcc=11.8", "x::y=1"))
    prefix = store.folder(recipe.name) / "conda"
    assert ask(recipe, job, tmp_path)[0].startswith(f"{job} x,y=z ")
    (create,) = programs.calls("micromamba", "create")
    assert create[2:5] == ["--yes", "--prefix", str(prefix)]
    assert create[-4:] == [f"python={VERSION}", "pip", "cuda-nvcc=11.8", "x::y=1"]
    with_pip = replace(recipe, packages=("numpy==1.26.4",))
    packages = Conda().steps(with_pip, store.folder(with_pip.name), None)[1]
    assert packages.argv[1:5] == ("-m", "pip", "install", "--no-input")
    assert packages.again[-1] == "--force-reinstall"


def test_a_venv_cannot_have_conda_packages_nor_an_image_without_a_base_that_brings_them(
    programs: Programs, recipe: Recipe
) -> None:
    wanting = Recipe(method="conda", backend="conda", python=VERSION, conda_packages=("cuda-nvcc=11.8",))
    assert environments.why_not(wanting.using("venv")) == [
        "a venv has no conda packages, and it asks for cuda-nvcc=11.8"
    ]
    programs.add("apptainer", APPTAINER)
    (lack,) = environments.why_not(wanting.using("apptainer"))
    assert "names no image that would bring what its conda packages do (cuda-nvcc=11.8)" in lack
