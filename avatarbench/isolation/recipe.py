"""What an environment is made of. Import-light: a recipe is data, and naming it builds nothing."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from avatarbench.errors import AvatarbenchError, UsageError

BackendName = Literal["venv", "conda", "docker", "apptainer"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)

REPO = "{repo}"
"""Stands for the method's repository in the arguments of ``Recipe.build``."""

LAYOUT = 1
"""Part of every name: to be raised when the same recipe comes to be built into something else."""

_METHOD = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PYTHON = re.compile(r"3\.\d{1,2}(\.\d{1,3})?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEBIAN = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@+-]*")


@dataclass(frozen=True)
class Weight:
    """One file, or folder, of weights that the user brings.

    ``path`` is below the folder of weights; ``size`` (bytes) is 0 and ``sha256`` (hexadecimal) empty where none is
    known; ``source`` says where it comes from, as their README has it. ``md5``: where the authors state that alone.
    ``about`` (bytes): where only a rounded size is stated, beside which 2 % are accepted, and any excess of a folder.
    """

    name: str
    path: str
    size: int = 0
    sha256: str = ""
    source: str = ""
    md5: str = ""
    about: int = 0


@dataclass(frozen=True)
class Recipe:
    """All that decides a method's environment, and what its process may use.

    ``packages`` are pip requirement lines, each pinned (``name==1.2`` or ``name @ address@commit``). ``image`` is what
    docker and apptainer start from, a Debian or Ubuntu with whatever else is needed, such as CUDA's compiler; empty for
    the plain image of that Python. ``system_packages`` are its packages, installed in images alone. ``build`` are
    commands, as argument tuples, run in order after the packages, in the environment, with the network and with
    ``{repo}`` replaced by the method's checkout: CUDA extensions. ``variables`` are set in the build and in the run.
    ``memory_gib`` (GiB) and ``threads`` limit the running process, ``network`` lets it out, and ``gpu`` shows it the
    graphics cards; none of these four, nor ``weights``, changes the environment or its name.

    Raises AvatarbenchError where a field cannot be what it says: the recipe's author made a mistake.
    """

    method: str
    python: str
    packages: tuple[str, ...] = ()
    backend: BackendName = "venv"
    conda_packages: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()
    image: str = ""
    build: tuple[tuple[str, ...], ...] = ()
    repository: str = ""
    commit: str = ""
    weights: tuple[Weight, ...] = ()
    network: bool = False
    gpu: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    memory_gib: float | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        faults = [
            (not _METHOD.fullmatch(self.method), f"method {self.method!r} is not lower-case letters, digits, - and _"),
            (self.backend not in BACKENDS, f"backend {self.backend!r} is none of {', '.join(BACKENDS)}"),
            (not _PYTHON.fullmatch(self.python), f"python {self.python!r} is no version such as 3.8"),
            (bool(self.image) and not _IMAGE.fullmatch(self.image), f"image {self.image!r} is no name of an image"),
            (self.memory_gib is not None and self.memory_gib <= 0, f"memory_gib is {self.memory_gib}"),
            (self.threads is not None and self.threads < 1, f"threads is {self.threads}"),
            *((not _pinned(line), f"package {line!r} is not pinned on one line") for line in self.packages),
            *((_unsafe(line), f"conda package {line!r} is not one plain line") for line in self.conda_packages),
            *((not _DEBIAN.fullmatch(one), f"system package {one!r} is no name") for one in self.system_packages),
            *((not command, "a command of build is empty") for command in self.build),
            *((not _VARIABLE.fullmatch(name), f"variable {name!r} is no name") for name in self.variables),
            *(
                ("\n" in value or "\0" in value, f"variable {name} holds a line break")
                for name, value in self.variables.items()
            ),
        ]
        for wrong, why in faults:
            if wrong:
                raise AvatarbenchError(f"the recipe of '{self.method}' cannot be used: {why}.")

    @property
    def name(self) -> str:
        """``lam-3f2a9c4d5e6f``: the method and the hash of every field that decides what is built."""
        data = json.dumps(self._deciding(), sort_keys=True, separators=(",", ":"))
        return f"{self.method}-{hashlib.sha256(data.encode()).hexdigest()[:12]}"

    @property
    def wants_repository(self) -> bool:
        """Whether the build runs something of the method's checkout."""
        return any(REPO in argument for command in self.build for argument in command)

    def using(self, backend: str | None) -> Recipe:
        """This recipe for another backend, or itself for None. Raises UsageError for a name that is no backend."""
        if backend is None:
            return self
        if backend not in BACKENDS:
            raise UsageError(f"unknown backend '{backend}': the backends are {', '.join(BACKENDS)}.")
        return replace(self, backend=backend)

    def _deciding(self) -> dict[str, object]:
        """Only what its backend uses, so that a new image does not rename an environment without images."""
        fields: dict[str, object] = {
            "layout": LAYOUT,
            "backend": self.backend,
            "python": self.python,
            "packages": self.packages,
            "build": self.build,
            "variables": dict(self.variables),
        }
        if self.backend == "conda":
            fields["conda_packages"] = self.conda_packages
        if self.backend in ("docker", "apptainer"):
            fields |= {"image": self.image, "system_packages": self.system_packages}
        if self.build:
            fields |= {"repository": self.repository, "commit": self.commit}
        return fields


def _unsafe(line: str) -> bool:
    """Whether a requirement could be read as an option, or as more than one line of a file."""
    return not line.strip() or line.lstrip().startswith(("-", "#")) or "\n" in line or "\r" in line


def _pinned(line: str) -> bool:
    return not _unsafe(line) and ("==" in line or "@" in line)


def load(name: str) -> Recipe:
    """The recipe ``"package.module:RECIPE"``. Raises AvatarbenchError where there is none of that name."""
    module, _, attribute = name.partition(":")
    try:
        recipe = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise AvatarbenchError(
            f"no recipe of an environment at '{name}' ({error}): it is named package.module:RECIPE."
        ) from error
    if not isinstance(recipe, Recipe):
        raise AvatarbenchError(f"'{name}' is a {type(recipe).__name__}, not a Recipe of avatarbench.isolation.recipe.")
    return recipe
