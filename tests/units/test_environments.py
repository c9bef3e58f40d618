"""Environments are built once, go on after a kill, say why they fail, and keep their processes in."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from avatarbench.errors import UsageError
from avatarbench.isolation import build_log, enter, environments, interpreters, sandbox, store
from avatarbench.isolation.build import BuildError
from avatarbench.isolation.environments import Environment, Process
from avatarbench.isolation.recipe import Recipe
from avatarbench.isolation.venv import Venv
from tests.units.environment_fixture import VERSION, tiny, wheel

MIB = 1 << 20


class Heard:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, name: str, number: int, total: int) -> None:
        self.steps.append(name)

    def line(self, text: str) -> None: ...


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store."""
    monkeypatch.setenv("AVATARBENCH_ENVIRONMENTS", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One environment for all tests that only start something in it."""
    folder = tmp_path_factory.mktemp("environments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVATARBENCH_ENVIRONMENTS", str(folder / "store"))
        return environments.ensure(tiny(folder / "wheels"))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    folder.mkdir()
    return folder


def python(env: Environment, job: Path, code: str, **options: object) -> str:
    """What a program prints in the environment."""
    process = env.start(["python", "-c", code], job=job, **options)  # type: ignore[arg-type]
    answer, _ = process.communicate(timeout=60)
    assert process.returncode == 0, (job / "stderr.log").read_text()
    return answer.decode().strip()


def builder(recipe: Recipe, root: Path) -> subprocess.Popen[str]:
    """Another process that wants the recipe's environment."""
    code = "import sys; from avatarbench.isolation import environments, recipe\n" + (
        f"environments.ensure(recipe.Recipe(method={recipe.method!r}, python={recipe.python!r}, "
        f"packages={recipe.packages!r}, build={recipe.build!r}))"
    )
    env = {**os.environ, "AVATARBENCH_ENVIRONMENTS": str(root)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code], env=env, stdout=pipe, stderr=pipe, text=True)


def wait_for(path: Path) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.02)


def wait_for_the_end_of(pid: int) -> None:
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_step_may_become_another_program_in_a_thread_of_its_own(tmp_path: Path) -> None:
    """As apptainer does; what watches for the step's end hears of the thread's."""
    last = "import time; time.sleep(0.3); print('went on'); raise SystemExit(7)"
    code = (
        f"import os, sys, threading, time\nargv = [sys.executable, '-c', {last!r}]\n"
        "threading.Thread(target=os.execv, args=(sys.executable, argv)).start()\ntime.sleep(60)\n"
    )
    argv = sandbox.mortal_command([sys.executable, "-c", code], tmp_path)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, start_new_session=True, check=False)
    assert (done.stdout, done.returncode) == ("went on\n", 7)


def test_it_holds_its_own_packages_and_says_which(built: Environment, job: Path) -> None:
    assert python(built, job, "import tinypack, sys; print(tinypack.VERSION, sys.prefix)") == (
        f"1.0 {built.folder / 'venv'}"
    )
    described = built.describe()
    assert "tinypack==1.0" in described["packages"]  # type: ignore[operator]
    assert str(described["python_version"]).startswith(VERSION)
    assert re.fullmatch("[0-9a-f]{64}", str(described["packages_digest"]))
    assert json.loads(json.dumps(described))["name"] == built.recipe.name


def test_a_package_from_the_registry_is_installed_at_its_pin(root: Path, job: Path) -> None:
    env = environments.ensure(Recipe(method="registry", python=VERSION, packages=("six==1.16.0",)))
    assert python(env, job, "import six; print(six.__version__)") == "1.16.0"


def test_what_is_built_is_found_and_not_built_again(built: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARBENCH_ENVIRONMENTS", str(built.folder.parent))
    heard = Heard()
    assert environments.ensure(built.recipe, progress=heard).built == built.built
    assert heard.steps == []
    assert environments.why_not(built.recipe) == []


def test_a_killed_build_goes_on_at_its_step(root: Path, tmp_path: Path) -> None:
    started, flag = tmp_path / "started", tmp_path / "go"
    code = (
        f"import os, subprocess\nif not os.path.exists({str(flag)!r}):\n"
        f"    child = subprocess.Popen(['sleep', '600'])\n    open({str(flag)!r}, 'w').write(str(child.pid))\n"
        f"open({str(started)!r}, 'a').write('x')\n'child' in dir() and child.wait()\n"
    )
    recipe = tiny(tmp_path / "wheels", build=(("python", "-c", "print('first')"), ("python", "-c", code)))
    with builder(recipe, root) as process:
        wait_for(started)
        process.kill()
    wait_for_the_end_of(int(flag.read_text()))  # what the step itself had started, as installers do with compilers
    assert environments.find(recipe) is None
    heard = Heard()
    env = environments.ensure(recipe, progress=heard)
    assert heard.steps == ["python", "packages", "build 1", "build 2"]
    steps = re.findall(r"^== \S+ \S+ ([\w ]+):", (env.folder / store.LOG).read_text(), re.MULTILINE)
    assert steps == ["python", "packages", "build 1", "build 2", "build 2"]
    assert started.read_text() == "xx"


def test_packages_that_a_kill_left_half_installed_are_installed_again(root: Path, tmp_path: Path, job: Path) -> None:
    recipe = tiny(tmp_path / "wheels")
    env = environments.ensure(recipe)
    module = next(env.folder.glob("venv/lib/python*/site-packages/tinypack.py"))
    module.unlink()
    module.write_text("VERSION = ")  # as a kill in the middle of a write leaves it
    (env.folder / store.READY).unlink()
    store.write(env.folder / store.MARKS, {"done": ["python"], "begun": "packages"})
    assert python(environments.ensure(recipe), job, "import tinypack; print(tinypack.VERSION)") == "1.0"


def test_of_two_processes_one_builds_and_the_other_waits_and_says_so(root: Path, tmp_path: Path) -> None:
    counted = tmp_path / "count"
    code = f"import time; open({str(counted)!r}, 'a').write('x'); time.sleep(1.5)"
    recipe = tiny(tmp_path / "wheels", packages=(), build=(("python", "-c", code),))
    with builder(recipe, root) as first:
        wait_for(counted)
        with builder(recipe, root) as second:
            told = second.communicate(timeout=60)[1]
            assert second.returncode == 0, told
        assert first.wait(60) == 0
    assert f"another process (pid {first.pid}) is building {recipe.name}: waiting for it" in told
    assert counted.read_text() == "x"


def test_of_a_build_that_floods_its_log_beginning_and_end_are_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_log, "HEAD", 1 << 14)
    monkeypatch.setattr(build_log, "TAIL", 1 << 15)
    monkeypatch.setattr(build_log, "LOOKED_AT", 1 << 14)
    code = "for i in range(100000): print('line', i)\nprint('x' * 2000)\nprint('the reason')\nraise SystemExit(3)"
    recipe = tiny(tmp_path / "wheels", packages=(), build=(("python", "-c", code),))
    for _ in range(2):  # it is one file for all tries
        with pytest.raises(BuildError, match=r"(?s)ended with exit code 3.*line 99999\nx{500}\nthe reason\n\nThe wh"):
            environments.ensure(recipe, progress=Heard())
        log = (root / recipe.name / store.LOG).read_bytes()
        assert len(log) < (1 << 14) + 2 * (1 << 15) + (1 << 16)
        assert log.startswith(b"== ")
        assert b"line 9\n" in log
        assert log.count(build_log.CUT) == 1
        assert log.endswith(b"x\nthe reason\n")


def test_a_failing_package_shows_the_end_of_the_log_and_where_it_is(root: Path, tmp_path: Path) -> None:
    missing = tmp_path / "absent-2.0-py3-none-any.whl"
    recipe = Recipe(method="failing", python=VERSION, packages=(f"absent @ {missing.as_uri()}",))
    with pytest.raises(BuildError) as caught:
        environments.ensure(recipe, progress=Heard())
    log = root / recipe.name / store.LOG
    assert "its step 'packages' ended with exit code" in str(caught.value)
    assert f"The whole log: {log}" in str(caught.value)
    assert missing.name in log.read_text()
    assert log.read_text().splitlines()[-1].strip() in str(caught.value)
    assert environments.find(recipe) is None


def test_what_a_failed_step_printed_long_before_is_left_out_of_the_error(root: Path, tmp_path: Path) -> None:
    code = "import sys; [print('line', n) for n in range(5000)]; sys.exit('the reason')"
    recipe = Recipe(method="failing", python=VERSION, build=(("python", "-c", code),))
    with pytest.raises(BuildError) as caught:
        environments.ensure(recipe, progress=Heard())
    assert "the reason" in str(caught.value)
    assert "line 4999" in str(caught.value)
    assert "line 4000" not in str(caught.value)


def test_an_environment_whose_python_was_removed_is_built_anew(root: Path, tmp_path: Path, job: Path) -> None:
    recipe = tiny(tmp_path / "wheels")
    inside = environments.ensure(recipe).folder / "venv" / "bin" / "python"
    inside.unlink()
    inside.symlink_to(tmp_path / "gone")
    assert environments.find(recipe) is None
    assert python(environments.ensure(recipe), job, "import tinypack; print(tinypack.VERSION)") == "1.0"


def test_without_its_python_it_says_how_to_get_it(root: Path) -> None:
    recipe = Recipe(method="future", python="3.99")
    assert environments.why_not(recipe) == [
        "no Python 3.99 on this machine: install it (uv python install 3.99, or your system's package), or use "
        "another backend"
    ]
    with pytest.raises(BuildError, match=r"cannot be built here:\n  - no Python 3\.99"):
        environments.ensure(recipe)


def test_a_build_that_needs_the_checkout_asks_for_it(root: Path, tmp_path: Path) -> None:
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).joinpath('built').touch()"
    recipe = Recipe(
        method="repo", python=VERSION, build=(("python", "-c", code, "{repo}"),), repository="github.com/a/b"
    )
    assert environments.why_not(recipe) == ["its build needs the checkout of github.com/a/b: name it with --repo"]
    checkout = tmp_path / "check out"
    checkout.mkdir()
    environments.ensure(recipe, repository=checkout)
    assert (checkout / "built").exists()


def test_without_uv_the_same_steps_are_done_by_venv_and_pip(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interpreters, "uv", lambda: None)
    recipe = tiny(tmp_path / "wheels")
    make, install = Venv().steps(recipe, root / recipe.name, None)
    prefix = root / recipe.name / "venv"
    assert make.argv == (sys.executable, "-m", "venv", str(prefix))
    assert install.argv[:4] == (str(prefix / "bin" / "python"), "-m", "pip", "install")
    assert install.again == (*install.argv, "--force-reinstall")


def test_a_shim_of_a_python_that_is_not_there_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreters.find.cache_clear()
    for name, code in (("shim", "exit 127"), ("real", f'exec "{sys.executable}" "$@"')):
        (tmp_path / name).mkdir()
        program = tmp_path / name / f"python{VERSION}"
        program.write_text(f"#!/bin/sh\n{code}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "shim"), str(tmp_path / "real"), os.environ["PATH"]]))
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert interpreters.find(VERSION) == tmp_path / "real" / f"python{VERSION}"
    interpreters.find.cache_clear()


def test_an_environment_of_the_users_is_taken_as_it_is(built: Environment, root: Path, job: Path) -> None:
    given = environments.given(replace(built.recipe, backend="docker", image="debian"), Path(built.python))
    assert given.describe()["image"] == ""  # which the recipe names for what it would build
    assert given.packages == built.packages
    assert python(given, job, "import tinypack; print(tinypack.VERSION)") == "1.0"
    assert store.names() == []
    with pytest.raises(UsageError, match=r"/nowhere/python is no Python that starts"):
        environments.given(built.recipe, Path("/nowhere/python"))
    with pytest.raises(UsageError, match=r"tiny needs 3\.6"):
        environments.given(replace(built.recipe, python="3.6"), Path(built.python))


# What keeps a process in


def test_our_own_variables_and_secrets_stay_outside(
    built: Environment, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "SOME_VARIABLE", "HF_TOKEN"):
        monkeypatch.setenv(name, "/ours")
    told = json.loads(python(built, job, "import json, os; print(json.dumps(dict(os.environ)))", variables={"A": "b"}))
    assert "/ours" not in told.values()
    assert told["VIRTUAL_ENV"] == str(built.folder / "venv")
    assert told["A"] == "b"
    assert told["CUDA_VISIBLE_DEVICES"] == ""
    assert told["PATH"].split(os.pathsep)[0] == str(built.folder / "venv" / "bin")


def test_the_network_is_out_of_reach_where_the_system_can_cut_it_off(built: Environment, job: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = (
            "import socket\ntry:\n"
            f"    socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 5); print('reached')\n"
            "except OSError as error:\n    print('cut off')\n"
        )
        told = built.guard().network
        found = python(built, job, code)
        assert python(built, job, code, network=True) == "reached"
    if sandbox.powers().network:
        assert found == "reached"
        assert told == f"open, though the recipe does not ask for it: {sandbox.powers().network}"
    else:
        assert (found, told) == ("cut off", "cut off")
    assert built.guard(network=True).network == "open: the recipe asks for it"


def test_code_that_talks_to_itself_still_can(built: Environment, job: Path) -> None:
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 5)"
    python(built, job, code)


def test_only_the_job_folder_is_written_where_the_system_can_see_to_it(
    built: Environment, job: Path, tmp_path: Path
) -> None:
    shown = tmp_path / "repository"
    (shown / "within").mkdir(parents=True)
    places = [job, shown, shown / "within", built.folder / "venv", built.folder / "cache"]
    code = (
        "import sys, pathlib\nfor place in sys.argv[1:]:\n    try:\n        (pathlib.Path(place) / 'new').touch()\n"
        "        print('written')\n    except OSError as error:\n        print(error.strerror)\n"
    )
    process = built.start(["python", "-c", code, *map(str, places)], job=job, read_only=[shown])
    found = process.communicate(timeout=60)[0].decode().splitlines()
    if sandbox.powers().mounts:
        assert found == ["written"] * 5
        assert built.guard().files == f"not protected: {sandbox.powers().mounts}"
    else:
        assert found == ["written", *["Read-only file system"] * 3, "written"]
        assert built.guard().files.startswith("all read-only but the job folder")
        assert not (shown / "new").exists()


def test_temporary_files_go_to_the_job_folder_unless_its_path_is_too_long_for_sockets(built: Environment) -> None:
    code = "import os, multiprocessing.connection as c; print(os.environ.get('TMPDIR'), len(c.Listener().address) > 0)"
    with TemporaryDirectory(prefix="j", dir="/tmp") as folder:
        assert python(built, Path(folder), code) == f"{folder}/tmp True"
        deep = Path(folder) / ("long" * 20)
        deep.mkdir()
        assert python(built, deep, code) == "None True"


def test_an_ordinary_users_way_in_shuts_off_as_much(tmp_path: Path) -> None:
    """A user namespace, which tests that run as root would not enter."""
    (tmp_path / "job").mkdir()
    (tmp_path / "shown").mkdir()
    spec = {
        "network": False,
        "mounts": True,
        "user": True,
        "writable": ["/tmp", str(tmp_path), str(tmp_path / "job")],
        "read_only": [str(tmp_path / "shown")],
        "cwd": str(tmp_path / "job"),
    }
    code = "touch within; touch ../shown/new; umount ../shown; touch ../shown/new; cat /proc/net/dev; true"
    command = [sys.executable, "-I", "-S", str(sandbox.ENTER), json.dumps(spec), "sh", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == enter.CANNOT_ENTER:  # user namespaces are forbidden here, and it says so
        assert "as isolated as was asked" in done.stderr
        return
    assert (tmp_path / "job" / "within").exists()
    assert not (tmp_path / "shown" / "new").exists()
    assert done.stderr.count("Read-only file system") == 2
    assert [line.partition(":")[0].strip() for line in done.stdout.splitlines()[2:]] == ["lo"]


def test_a_job_folder_within_what_is_read_only_is_still_written(built: Environment, tmp_path: Path) -> None:
    job = tmp_path / "shown" / "job"
    job.mkdir(parents=True)
    python(built, job, "open('here', 'w')", read_only=[tmp_path / "shown"])
    assert (job / "here").exists()


def test_a_limit_of_memory_holds(built: Environment, job: Path) -> None:
    limited = replace(built, recipe=replace(built.recipe, memory_gib=0.25))
    code = "import sys\ntry:\n    bytearray(int(sys.argv[1])); print('had')\nexcept MemoryError:\n    print('none')\n"

    def ask(size: int) -> tuple[int, bytes]:
        process = limited.start(["python", "-c", code, str(size)], job=job)
        answer = process.communicate(timeout=60)[0].strip()
        return process.returncode, answer

    assert ask(64 * MIB) == (0, b"had")
    # A control group kills, a limit of the process makes the request fail.
    assert ask(1024 * MIB) in [(0, b"none"), (-signal.SIGKILL, b"")]
    assert limited.guard().memory.startswith("0.25 GiB, for ")


def test_a_kill_takes_along_what_the_process_started(built: Environment, job: Path) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    process = built.start(["python", "-c", code], job=job)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    wait_for_the_end_of(child)


def test_a_path_that_is_not_there_is_told_before_anything_is_started(built: Environment, job: Path) -> None:
    with pytest.raises(UsageError, match=r"/nowhere does not exist"):
        built.start(["python"], job=job, read_only=[Path("/nowhere")])


def test_a_program_that_is_not_there_is_told_in_the_log(built: Environment, job: Path) -> None:
    process = built.start(["no-such-program"], job=job)
    process.communicate(timeout=60)
    assert process.returncode == 125
    assert "cannot start no-such-program as isolated as was asked" in (job / "stderr.log").read_text()


# Removing


def test_only_what_lies_in_the_store_is_removed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    root.mkdir()
    (root / "tiny-0123456789ab").symlink_to(outside)
    for name in ("../outside", str(outside), "tiny-0123456789ab", "tiny-0123456789ac", ".", ""):
        with pytest.raises(UsageError):
            environments.remove(name)
    with pytest.raises(UsageError, match="does not lie in"):
        store.delete("tiny-0123456789ab")
    assert (outside / "precious").exists()


def test_what_runs_or_is_being_built_is_not_removed(
    root: Path, tmp_path: Path, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(tmp_path / "wheels")
    env = environments.ensure(recipe)
    process: Process = env.start(["python", "-c", "import sys; sys.stdin.read()"], job=job)
    with pytest.raises(UsageError, match=r"something runs in the environment tiny-\w+, pid \d+ \(\w+"):
        environments.remove(recipe.name)
    monkeypatch.setattr(store, "users", lambda name: [])
    with pytest.raises(UsageError, match=r"tiny-\w+, a process that cannot be named here: let it end first"):
        environments.remove(recipe.name)
    process.communicate(timeout=60)
    with store.locked(recipe.name), pytest.raises(UsageError, match="is being built"):
        environments.remove(recipe.name)
    environments.remove(recipe.name)
    assert not env.folder.exists()
    assert store.names() == []


def test_a_wheel_of_another_version_is_another_environment(root: Path, tmp_path: Path) -> None:
    one = tiny(tmp_path / "wheels")
    two = replace(one, packages=(wheel(tmp_path / "wheels", version="2.0"),))
    assert one.name != two.name
