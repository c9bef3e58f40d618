"""What tests against stand-in repositories share: their environment, and a copy to work on."""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

from avatarbench.isolation import environments
from avatarbench.isolation.recipe import Recipe
from tests.conftest import ROOT

HERE = Path(__file__).parent
STORE = ROOT / ".pytest_cache" / "environments"
"""Named by its recipe's hash, so that the sessions and workers of one checkout share what is built once."""


def recipe() -> Recipe:
    """Our own Python and versions, whose wheels are at hand: numpy, pictures, and the videos of one stand-in."""
    return Recipe(
        method="stand-ins",
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        packages=tuple(f"{name}=={version(name)}" for name in ("numpy", "pillow", "av")),
    )


@cache
def python() -> str:
    """The interpreter of an environment in which every stand-in runs, for the option ``python``. Built where it is not
    there; later calls of this session, and the command lines that it starts, keep their environments in its place."""
    os.environ["AVATARBENCH_ENVIRONMENTS"] = str(STORE)
    return environments.ensure(recipe()).python


def checkout(name: str, folder: Path) -> Path:
    """A copy of the stand-in ``tests/standins/NAME``, label and all, to put switches and old files into."""
    target = folder / name
    shutil.copytree(HERE / name, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target
