"""Processes of a venv or conda environment: started on this system itself, with their own variables and guards."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from avatarbench.isolation import sandbox
from avatarbench.isolation.backend import Command, Guard, Launch
from avatarbench.isolation.recipe import Recipe

GIB = 1 << 30
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_NEEDED = ("HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "DISPLAY")
_NEEDED_STARTS = ("LC_", "CUDA_", "NVIDIA_", "EGL_", "OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "TORCH_", "HF_")
_NETWORK = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "requests_ca_bundle")
_SECRET = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "API_KEY")


def run_variables(recipe: Recipe, scratch: Path, network: bool, more: Mapping[str, str]) -> dict[str, str]:
    """The few of our variables that a method needs, the caches of libraries in ``scratch``, the recipe's, and ``more``.

    HOME stays, for files that are read there; what is written goes to ``scratch``, the environment's cache folder.
    """
    ours = {
        name: value
        for name, value in os.environ.items()
        if (name in _NEEDED or name.startswith(_NEEDED_STARTS) or (network and name.lower() in _NETWORK))
        and not any(part in name.upper() for part in _SECRET)
    }
    return ours | cache_variables(scratch) | thread_variables(recipe) | gpu_variables(recipe) | dict(more)


def cache_variables(scratch: Path) -> dict[str, str]:
    """Where libraries write what they compile: kept between runs, outside the packages and the home folder."""
    return {
        "PYTHONPYCACHEPREFIX": str(scratch / "bytecode"),
        "PYTHONNOUSERSITE": "1",
        "TORCH_EXTENSIONS_DIR": str(scratch / "torch_extensions"),
        "TRITON_CACHE_DIR": str(scratch / "triton"),
        "CUDA_CACHE_PATH": str(scratch / "cuda"),
        "NUMBA_CACHE_DIR": str(scratch / "numba"),
        "MPLCONFIGDIR": str(scratch / "matplotlib"),
    }


def thread_variables(recipe: Recipe) -> dict[str, str]:
    return dict.fromkeys(THREAD_VARIABLES, str(recipe.threads)) if recipe.threads else {}


def gpu_variables(recipe: Recipe) -> dict[str, str]:
    """A method without need of a graphics card sees none; else the choice of this process holds for it too."""
    return {} if recipe.gpu else {"CUDA_VISIBLE_DEVICES": ""}


def search_path(prefix: Path) -> str:
    """PATH with the environment's programs first, and without those of our own."""
    own = Path(sys.executable).parent
    rest = [part for part in os.get_exec_path() if Path(part) != own or own in (Path("/usr/bin"), Path("/bin"))]
    return os.pathsep.join([str(prefix / "bin"), *rest])


def resolve(argv: tuple[str, ...], prefix: Path) -> list[str]:
    """``python`` and ``pip`` as the environment's own, other programs by its PATH, the rest as it is."""
    first, *rest = argv
    python = str(prefix / "bin" / "python")
    if first in ("python", "python3"):
        return [python, *rest]
    if first == "pip":
        return [python, "-m", "pip", *rest]
    return [shutil.which(first, path=search_path(prefix)) or first, *rest]


def native_command(recipe: Recipe, folder: Path, prefix: Path, launch: Launch, more: Mapping[str, str]) -> Command:
    """``launch`` on this system, guarded as far as it allows."""
    scratch = folder / "cache"
    scratch.mkdir(parents=True, exist_ok=True)
    variables = dict(more) | dict(recipe.variables) | dict(launch.variables or {})
    argv = sandbox.enter_command(
        resolve(launch.argv, prefix),
        cwd=launch.cwd,
        network=launch.network,
        writable=[*launch.writable, scratch],
        read_only=[*launch.read_only, prefix],
        memory_bytes=int(recipe.memory_gib * GIB) if recipe.memory_gib else None,
    )
    path = {"PATH": search_path(prefix)}
    return Command(argv, run_variables(recipe, scratch, launch.network, path | variables))


def native_guard(recipe: Recipe, network: bool) -> Guard:
    """What :func:`native_command` enforces here."""
    able = sandbox.powers()
    return Guard(
        network="open: the recipe asks for it" if network else _cut(able.network),
        files="all read-only but the job folder, the environment's cache and the system's scratch folders"
        if not able.mounts
        else f"not protected: {able.mounts}",
        memory=sandbox.memory_guard(recipe.memory_gib),
        threads=f"{recipe.threads}, told to its libraries" if recipe.threads else "no limit asked for",
    )


def _cut(why_not: str) -> str:
    return f"open, though the recipe does not ask for it: {why_not}" if why_not else "cut off"
