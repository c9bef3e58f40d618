"""The backend ``docker`` with docker itself: a daemon of the tests' own, and this Debian as ``python:3.11``."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from avatarbench.datasets.images import read_image
from avatarbench.isolation import environments
from avatarbench.isolation.environments import Environment
from avatarbench.run.record import read_samples
from tests.isolated.versions import CONFLICT, register

PACKAGES = "--include=python3,python3-venv,ca-certificates"
AUTHORITIES = Path("etc/ssl/certs/ca-certificates.crt")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True, timeout=300).stdout


@pytest.fixture(scope="module")
def daemon(program: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Needs root. Debian's docker is first on PATH: the builder of its version is its own."""
    folder = tmp_path_factory.mktemp("docker")
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    subprocess.run([program("debootstrap"), "--variant=minbase", PACKAGES, release, folder / "debian"], check=True)
    with suppress(FileNotFoundError):  # where this machine trusts an authority of its own, an image of it does
        shutil.copy(os.environ.get("SSL_CERT_FILE", "/" / AUTHORITIES), folder / "debian" / AUTHORITIES)
    address = f"unix://{folder / 'socket'}"
    options = ("--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid")
    with pytest.MonkeyPatch.context() as patch, (folder / "log").open("w") as log:
        patch.setenv("PATH", f"/usr/bin:/usr/sbin:{os.environ['PATH']}")
        patch.setenv("DOCKER_HOST", address)
        patch.setenv("AVATARBENCH_ENVIRONMENTS", str(folder / "environments"))
        started = subprocess.Popen([program("dockerd"), *options, "--host", address], stdout=log, stderr=log)
        try:
            until = time.monotonic() + 60
            while subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
                assert started.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < until, (folder / "log").read_text()[-2000:]
                time.sleep(0.5)
            archive = folder / "debian.tar"
            subprocess.run(["tar", "-C", folder / "debian", "-cf", archive, "."], check=True)
            trust = f"ENV SSL_CERT_FILE=/{AUTHORITIES}"
            docker("import", "--change", trust, str(archive), f"python:{CONFLICT.python}")
            yield
        finally:
            started.terminate()
            started.wait(60)


@pytest.fixture(scope="module")
def built(daemon: None) -> Environment:
    return environments.ensure(CONFLICT.using("docker"))


def run(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "avatarbench", "run", "-m", "conflict", "-p", "clip-self", "--metric", "psnr"]
    command += ["+method.conflict.backend=docker", "--out", "runs", *arguments]
    variables = {**os.environ, **register(folder / "installed")}
    return subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_a_run_has_its_own_packages_and_a_reason_for_each_loss(built: Environment, tmp_path: Path) -> None:
    process = run(tmp_path, "--limit", "5", "--size", "64", "+method.conflict.faults={f16: crash, f24: raise}")
    assert process.communicate(timeout=300)[0] is not None
    assert process.returncode == 3
    (folder,) = (tmp_path / "runs").iterdir()
    (method,) = json.loads((folder / "run.json").read_text())["methods"]
    pixels = [read_image(path)[0][0, :2].tolist() for path in sorted(folder.glob("predictions/conflict/**/*.png"))]
    assert pixels == [[[1, 26, 4], [10, 4, 0]]] * 3
    reasons = {row["frame"]: row["reason"] or "" for row in read_samples(folder).to_pylist()}
    assert "crashed (SIGSEGV) in the middle of render" in reasons[16]
    assert reasons[24].startswith("ValueError: no luck in frame 24")
    assert (method["isolation"]["image"], method["restarts"]) == (f"python:{CONFLICT.python}", 2)
    assert docker("ps", "--all", "--quiet") == ""


def test_kills_of_the_container_and_of_its_client_cost_no_frame(built: Environment, tmp_path: Path) -> None:
    process, killed = run(tmp_path, "--limit", "471", "--stride", "1", "--size", "512"), set()

    def kill() -> None:
        while process.poll() is None and len(killed) < 4:
            for container in docker("ps", "--quiet").split():
                if container in killed:
                    continue
                time.sleep(0.5)
                clients = [child for child in psutil.Process(process.pid).children() if child.name() == "docker"]
                if len(killed) % 2 and clients:
                    clients[0].kill()
                else:
                    subprocess.run(["docker", "kill", container], capture_output=True, check=False)
                killed.add(container)

    killer = threading.Thread(target=kill)
    killer.start()
    output = process.communicate(timeout=500)[0]
    killer.join()
    assert process.returncode == 0, output
    (folder,) = (tmp_path / "runs").iterdir()
    (method,) = json.loads((folder / "run.json").read_text())["methods"]
    assert (method["failures"], method["restarts"], len(killed)) == (0, 4, 4)
    assert docker("ps", "--all", "--quiet") == ""


@pytest.mark.parametrize(
    ("code", "network", "memory", "told"),
    [
        ("import socket; socket.create_connection(('192.0.2.1', 9), 3)", False, None, "Network is unreachable"),
        ("import socket; print(len(socket.if_nameindex()) > 1)", True, None, "True"),
        ("open('/opt/mine', 'w')", False, None, "Read-only file system"),
        ("import os; open('mine', 'w'); open(os.path.expanduser('~/mine'), 'w'); print('both')", False, None, "both"),
        ("print(len(b'x' * (100 << 20)))", False, 0.5, "104857600"),
        ("b = bytearray(b'x' * (2 << 30)); print('much')", False, 0.5, "137"),
    ],
)
def test_what_is_enforced(
    built: Environment, tmp_path: Path, code: str, network: bool, memory: float | None, told: str
) -> None:
    environment = replace(built, recipe=replace(built.recipe, memory_gib=memory))
    process = environment.start(("python", "-c", code), job=tmp_path, network=network)
    output = process.communicate(timeout=120)[0].decode()
    assert told in f"{output} {(tmp_path / 'stderr.log').read_text()} {process.returncode}"


def test_it_is_removed_with_its_image(built: Environment) -> None:
    assert f"avatarbench/{built.name}" in docker("image", "ls", "--format", "{{.Repository}}").split()
    environments.remove(built.name)
    assert f"avatarbench/{built.name}" not in docker("image", "ls", "--format", "{{.Repository}}").split()
