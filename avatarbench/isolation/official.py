"""What all official methods share: their authors' code and weights, which a user has, run in an environment of its own.

A subclass says which files tell its repository from another, and how to talk to it (``shim``); its recipe says what it
runs in, at which commit, and with which weights. Nothing of theirs ships.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from avatarbench.errors import UsageError
from avatarbench.isolation import environments, interpreters, repository, weights
from avatarbench.isolation.bring import how_to_clone, how_to_get_weights
from avatarbench.isolation.method import IsolatedMethod
from avatarbench.isolation.recipe import Recipe
from avatarbench.registry import suggest

HERE = Path(__file__).parent
TOOLS = tuple(HERE / name for name in ("shim_tools.py", "shim_rig.py", "shim_video.py"))
"""Copied beside every shim of an official method."""

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")

COMMON = ("repo", "weights", "backend", "device", "python")


class OfficialMethod(IsolatedMethod):
    """Options: ``repo``, a checkout of the authors' repository; ``weights``, their file or the folder that holds them;
    ``backend``, instead of the recipe's; ``device``, ``auto``, ``cpu`` or ``cuda:N``; ``python``, the interpreter of an
    environment that the user has made: then none is built. Further ones are named in ``own_options``, with defaults.

    The shim's options are these, with ``repo`` and ``weights`` as absolute paths and ``weight_files``: the file of each
    of the recipe's weights by its path there.
    """

    recipe: ClassVar[Recipe]
    shim: ClassVar[Path]
    files: ClassVar[tuple[Path, ...]] = TOOLS
    expected: ClassVar[tuple[str, ...]] = ()
    """Paths in the repository that tell it from any other."""
    own_options: ClassVar[Mapping[str, Any]] = {}
    cuda_only: ClassVar[bool] = False
    """Whether its code names a CUDA device and so does not run on the CPU."""

    def __init__(
        self,
        repo: str | None = None,
        weights: str | None = None,
        backend: str | None = None,
        device: str = "auto",
        python: str | None = None,
        **own: Any,
    ) -> None:
        """Raises UsageError with all that is missing."""
        options = {"repo": repo, "weights": weights, "backend": backend, "device": device, "python": python, **own}
        if lacks := self.lacks(**options):
            raise UsageError(f"{self.recipe.method} cannot be set up:\n  - " + "\n  - ".join(lacks))
        given = {**self.own_options, **own, "device": device, **self._paths(repo, weights)}
        read_only = [Path(given["repo"]), *map(Path, given["weight_files"].values())]
        super().__init__(
            options=given,
            backend=backend,
            environment=None if python is None else _given(self.recipe, python),
            repository=Path(given["repo"]),
            read_only=tuple(dict.fromkeys(path.resolve() for path in read_only)),
        )

    @classmethod
    def obstacles(cls, **options: Any) -> Sequence[str]:
        """Why the method could not be set up with these options: what of it is missing, and where to get it."""
        lacks = cls.lacks(**options)
        if options.get("python") is None and not any("backend" in lack for lack in lacks):
            lacks += super().obstacles(backend=options.get("backend"), repo=options.get("repo"))
        return lacks

    @classmethod
    def lacks(cls, **options: Any) -> list[str]:
        """Of what the user brings, what is missing or wrong, a line each."""
        known = [*COMMON, *cls.own_options]
        found = [f"it has no option '{name}'{suggest(name, known)}" for name in options if name not in known]
        misfits = {name: wrong for name, value in options.items() if (wrong := cls._misfit(name, value))}
        found += [f"{name}={options[name]}: {wrong}" for name, wrong in misfits.items()]
        if misfits.keys() - cls.own_options.keys() - {"device"}:
            return found  # what follows reads these
        try:
            cls.recipe.using(options.get("backend"))
        except UsageError as error:
            found.append(str(error))
        repo, given, python = (options.get(name) for name in ("repo", "weights", "python"))
        stand_in = False
        if repo is None:
            found.append(f"its repository was not given: {how_to_clone(cls.recipe)}")
        elif why := repository.problem(root := Path(repo).expanduser().absolute(), cls.expected):
            found.append(f"--repo: {why}. {how_to_clone(cls.recipe)}")
        else:
            stand_in = repository.stands_in_for(root) is not None
        if cls.recipe.weights and given is None:
            found.append(f"its weights were not given: {how_to_get_weights(cls.recipe)}")
        elif given is not None:
            path = Path(given).expanduser().absolute()
            # A stand-in has no weights of the method's: what was given has to be there, and is recorded.
            found += weights.problems(() if stand_in else cls.recipe.weights, path)
        if python is not None:
            found += _faults(str(python))
        return found

    @classmethod
    def _misfit(cls, name: str, value: Any) -> str:
        """Why an option cannot have this value; "" where it can."""
        default = cls.own_options.get(name)
        if isinstance(default, int | float):
            fits = isinstance(value, int | float) and not isinstance(value, bool)
            return "" if fits else f"give a number, as {default} is"
        if name not in COMMON or (value is None and name != "device"):
            return ""
        if not isinstance(value, str):
            return "give text"
        if name == "device" and not DEVICE.fullmatch(value):
            return "give auto, cpu, or cuda:N"
        return "its code runs on a CUDA device only" if name == "device" and value == "cpu" and cls.cuda_only else ""

    @classmethod
    def prepare(cls, **options: Any) -> Sequence[str]:
        """Build the environment where it is not there and none was given; why that failed, a line each."""
        return [] if options.get("python") is not None else super().prepare(**options)

    @classmethod
    def origin(cls, **options: Any) -> dict[str, Any]:
        """For the run's record: the repository and its commit, whether it is a stand-in, and the weights' hashes.

        Of options that nothing is missing of. Raises AssetError for a weight that cannot be read.
        """
        paths = cls._paths(options.get("repo"), options.get("weights"))
        found = repository.look(Path(paths["repo"]))
        held = {} if paths["weights"] is None else weights.describe(cls._weights(found), Path(paths["weights"]))
        return {
            "repository": paths["repo"],
            "commit": found.commit,
            "pinned": cls.recipe.commit,
            "stand_in": found.stands_in_for is not None,
            "weights": held,
            "python": "" if (python := options.get("python")) is None else _version(python),
        }

    @classmethod
    def remarks(cls, origin: Mapping[str, Any]) -> list[str]:
        """What a reader of the run has to know of an :meth:`origin`."""
        if origin["stand_in"]:
            return [f"{origin['repository']} only stands in for it ({repository.STAND_IN}): it has no row in any table"]
        pinned, commit, said = origin["pinned"], origin["commit"], []
        if not commit:
            said.append(f"the commit of {origin['repository']} is unknown: the folder is no git checkout")
        elif pinned and commit != pinned:
            said.append(f"{origin['repository']} is at commit {commit[:12]}, the adapter was written for {pinned[:12]}")
        if (version := origin["python"]) and not f"{version}.".startswith(f"{cls.recipe.python}."):
            said.append(f"it runs in Python {version}, its authors ask for {cls.recipe.python}")
        return said

    @classmethod
    def _weights(cls, found: repository.Checkout) -> tuple[weights.Weight, ...]:
        return () if found.stands_in_for is not None else cls.recipe.weights

    @classmethod
    def _paths(cls, repo: str | None, given: str | None) -> dict[str, Any]:
        root = None if given is None else Path(given).expanduser().absolute()
        held = [] if root is None else weights.place(cls.recipe.weights, root)
        return {
            "repo": str(Path(repo or "").expanduser().absolute()),
            "weights": None if root is None else str(root),
            "weight_files": {one.weight.path: str(one.path) for one in held},
        }


def _given(recipe: Recipe, python: str) -> environments.Environment:
    """The user's own environment. Its Python's version is theirs to choose; another than asked for is remarked on."""
    path = Path(python).expanduser().absolute()
    return environments.given(replace(recipe, python=interpreters.version_of(path) or recipe.python), path)


@cache
def _version(python: str) -> str:
    return interpreters.version_of(Path(python).expanduser().absolute()) or ""


@cache
def _faults(python: str) -> list[str]:
    """Why the interpreter that the user named is of no use. Asked once a process."""
    path = Path(python).expanduser().absolute()
    try:
        done = subprocess.run(
            [str(path), "-c", "import numpy"], capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return [f"python={python} does not start: {error}"]
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return [f"python={python} does not import numpy, which the worker needs: {why}"]
    return []
