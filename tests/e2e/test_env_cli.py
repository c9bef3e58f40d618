"""``avatarbench env``: build, list, shell and remove, as a user calls them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import Result
from typer.testing import CliRunner

from avatarbench.cli.env import _wait, app
from avatarbench.errors import AvatarbenchError, UsageError
from tests.conftest import Cli
from tests.units.environment_fixture import VERSION, wheel

RECIPE = """
from avatarbench.isolation.recipe import Recipe

RECIPE = Recipe(method="mine", python="{python}", packages=("{package}",))
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "my_recipe.py").write_text(RECIPE.format(python=VERSION, package=wheel(tmp_path / "wheels")))
    return {"AVATARBENCH_ENVIRONMENTS": str(tmp_path / "store")}


def here(*arguments: str) -> Result:
    """``avatarbench env`` in this process, whose errors the command line would print."""
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, list(arguments))
    if isinstance(result.exception, AvatarbenchError):
        raise result.exception
    return result


def test_an_environment_from_its_build_to_its_removal(
    cli: Cli, env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVATARBENCH_ENVIRONMENTS", env["AVATARBENCH_ENVIRONMENTS"])
    monkeypatch.syspath_prepend(tmp_path)
    assert "none yet" in here("list").stdout
    with pytest.raises(UsageError, match=r"is not built\. Build it with: avatarbench env build my_recipe:RECIPE"):
        here("shell", "my_recipe:RECIPE")

    built = cli("env", "build", "my_recipe:RECIPE", env=env)
    assert built.returncode == 0, built.stderr
    name = built.stdout.split()[0]
    assert name.startswith("mine-")
    assert f"building the environment {name}; its log: {tmp_path / 'store' / name / 'build.log'}" in built.stderr
    assert "step 2 of 2: packages" in built.stderr

    (row,) = (line for line in here("list").stdout.splitlines() if name in line)
    assert row.split()[:4] == [name, "mine", "venv", "ready"]

    code = "import tinypack, sys; print(tinypack.VERSION); sys.exit(7)"
    inside = cli("env", "shell", "my_recipe:RECIPE", "--", "python", "-c", code, env=env)
    assert (inside.stdout, inside.returncode) == ("1.0\n", 7)

    with pytest.raises(UsageError, match=re.escape(f"there is no environment of 'min' in {tmp_path / 'store'}")):
        here("remove", "min")
    assert here("remove", "mine").exit_code == 1  # nobody answers the question
    assert f"removed {name}" in here("remove", "mine", "--yes").stdout
    assert name not in here("list").stdout


def test_ctrl_c_is_for_what_runs_inside() -> None:
    """The command line waits on, or the shell would lose its terminal to the caller's."""

    class Interrupted:
        codes: ClassVar[list[BaseException | int]] = [KeyboardInterrupt(), KeyboardInterrupt(), 130]

        def wait(self) -> int:
            code = self.codes.pop(0)
            if isinstance(code, BaseException):
                raise code
            return code

    process: Any = Interrupted()
    assert _wait(process) == 130


def test_a_method_of_our_own_process_has_none(cli: Cli, env: dict[str, str]) -> None:
    done = cli("env", "build", "face-warp", env=env)
    assert done.returncode == 2
    assert "'face-warp' runs in avatarbench's own process: it needs no environment." in done.stderr
    assert "did you mean" in cli("env", "build", "face-wrap", env=env).stderr


def test_doctor_has_a_row_a_backend_and_says_what_keeps_a_process_in(cli: Cli, env: dict[str, str]) -> None:
    done = cli("env", "doctor", env=env)
    assert done.returncode == 0, done.stdout
    rows = [line.split()[:2] for line in done.stdout.splitlines()]
    assert ["venv", "yes"] in rows
    assert {row[0] for row in rows if row} >= {"conda", "docker", "apptainer", "network", "files", "memory"}
