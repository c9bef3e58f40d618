"""What of this system can keep a process of a venv or conda environment from the network and from our files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ENTER = Path(__file__).with_name("enter.py")
SCRATCH = ("/tmp", "/var/tmp", "/dev/shm")
"""Writable inside as outside: what libraries take for granted."""

PROBE_SECONDS = 20


@dataclass(frozen=True)
class Powers:
    """Why the network cannot be cut off and file systems not be made read-only; "" where they can. ``user``: in a
    user namespace, since this process is no root."""

    network: str
    mounts: str
    user: bool = False


@cache
def powers() -> Powers:
    """Tried out once a process, in a child of its own."""
    if sys.platform != "linux":
        return _none(f"only Linux has the namespaces for it, and this is {sys.platform}")
    command = [sys.executable, "-I", "-S", str(ENTER), "--probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=True)
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return _none(f"trying it out failed: {error}")
    network, mounts = answer["network"], answer["mounts"]
    return Powers(network, mounts, answer["network_user"] or answer["mounts_user"])


def _none(why: str) -> Powers:
    return Powers(why, why)


@cache
def scope_command() -> tuple[str, ...]:
    """What starts a command in a control group of its own, which limits its memory; empty where nothing does."""
    user = () if os.geteuid() == 0 else ("--user",)
    command = ("systemd-run", *user, "--scope", "--quiet", "--collect")
    if not Path("/run/systemd/system").is_dir():
        return ()
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.SubprocessError):  # not installed, or no manager answers
        return ()
    return command if done.returncode == 0 else ()


def enter_command(
    argv: Sequence[str],
    *,
    cwd: Path,
    network: bool,
    writable: Sequence[Path] = (),
    read_only: Sequence[Path] = (),
    memory_bytes: int | None = None,
) -> list[str]:
    """``argv`` kept as far from network and files as :func:`powers` allow, with its memory limited."""
    able = powers()
    spec = {
        "network": network or bool(able.network),
        "mounts": not able.mounts,
        "user": able.user,
        "writable": [*SCRATCH, *map(str, writable)],
        "read_only": [str(path) for path in read_only],
        "cwd": str(cwd),
    }
    command = [*_enter(spec), *argv]
    return limit_command(command, memory_bytes, cwd) if memory_bytes else command


def limit_command(argv: Sequence[str], memory_bytes: int, cwd: Path) -> list[str]:
    """``argv`` with its memory limited: together with all that it starts by a control group, else each by itself.

    Not the address space, of which CUDA reserves more than any machine has, but what is reserved to be written.
    """
    if scope := scope_command():
        return [*scope, "-p", f"MemoryMax={memory_bytes}", "-p", "MemorySwapMax=0", "--", *argv]
    return [*_enter({"data": memory_bytes, "cwd": str(cwd)}), *argv]


def memory_guard(gib: float | None) -> str:
    """What :func:`limit_command` enforces here, in words."""
    if gib is None:
        return "no limit asked for"
    return f"{gib:g} GiB, {memory_holds()}"


def memory_holds() -> str:
    """What a limit of memory is of here."""
    if scope_command():
        return "for all processes together, by a control group"
    return "for each process by itself, of what it reserves to be written"


def mortal_command(argv: Sequence[str], cwd: Path) -> list[str]:
    """``argv`` that ends when this process does, so that a killed build leaves no installer at work."""
    return [*_enter({"die": sys.platform == "linux", "cwd": str(cwd)}), *argv]


def _enter(spec: dict[str, object]) -> list[str]:
    return [sys.executable, "-I", "-S", str(ENTER), json.dumps(spec)]
