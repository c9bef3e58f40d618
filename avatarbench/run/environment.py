"""What a run ran on: interpreter, packages, commit, hardware."""

from __future__ import annotations

import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil

import avatarbench
from avatarbench.run.record import EnvironmentRecord


def describe_environment() -> EnvironmentRecord:
    """The environment of this process. Torch is imported to name the GPU."""
    import torch

    return EnvironmentRecord(
        python=platform.python_version(),
        platform=platform.platform(),
        packages=_packages(),
        git_commit=_git("rev-parse", "HEAD"),
        git_dirty=None if (status := _git("status", "--porcelain")) is None else bool(status),
        cpu=_cpu(),
        cores=psutil.cpu_count(logical=True) or 1,
        memory_gib=round(psutil.virtual_memory().total / 1024**3, 2),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    )


def _packages() -> dict[str, str]:
    names = {"avatarbench"}
    for requirement in requires("avatarbench") or []:
        if "extra ==" not in requirement:
            names.add(re.split(r"[^\w.-]", requirement, maxsplit=1)[0])
    found = {}
    for name in sorted(names):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _git(*arguments: str) -> str | None:
    """Output of git in our own checkout; None outside one (an installed wheel) or without git."""
    root = Path(avatarbench.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()
