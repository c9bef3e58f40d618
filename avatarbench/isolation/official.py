"""What all official methods share: their authors' code and weights, which a user has, run in an environment of its own.

A subclass says which files tell its repository from another, and how to talk to it (``shim``); its recipe says what it
runs in, at which commit, and with which weights. Nothing of theirs ships.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from avatarbench.errors import UsageError
from avatarbench.isolation import repository, weights
from avatarbench.isolation.interpreter import OwnInterpreter
from avatarbench.isolation.method import IsolatedMethod
from avatarbench.isolation.recipe import Recipe
from avatarbench.registry import suggest

HERE = Path(__file__).parent
TOOLS = tuple(HERE / name for name in ("shim_tools.py", "shim_rig.py", "shim_video.py"))
"""Copied beside every shim of an official method."""

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
    expected: ClassVar[tuple[str, ...]] = ()
    """Paths in the repository that tell it from any other."""
    own_options: ClassVar[Mapping[str, Any]] = {}

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
            environment=None if python is None else OwnInterpreter(Path(python).expanduser(), self.recipe),
            repository=Path(given["repo"]),
            read_only=tuple(dict.fromkeys(path.resolve() for path in read_only)),
        )

    @classmethod
    def obstacles(cls, **options: Any) -> Sequence[str]:
        """Why the method could not be set up with these options: what of it is missing, and where to get it."""
        lacks = cls.lacks(**options)
        if options.get("python") is None and not any("backend" in lack for lack in lacks):
            lacks += super().obstacles(backend=options.get("backend"))
        return lacks

    @classmethod
    def lacks(cls, **options: Any) -> list[str]:
        """Of what the user brings, what is missing or wrong, a line each."""
        known = [*COMMON, *cls.own_options]
        found = [f"it has no option '{name}'{suggest(name, known)}" for name in options if name not in known]
        try:
            cls.recipe.using(options.get("backend"))
        except UsageError as error:
            found.append(str(error))
        repo, given, python = (options.get(name) for name in ("repo", "weights", "python"))
        stand_in = False
        if repo is None:
            found.append(f"its repository was not given: {cls.how_to_clone()}")
        elif why := repository.problem(root := Path(repo).expanduser().absolute(), cls.expected):
            found.append(f"--repo: {why}. {cls.how_to_clone()}")
        else:
            stand_in = repository.stands_in_for(root) is not None
        if cls.recipe.weights and given is None:
            found.append(f"its weights were not given: {cls.how_to_get_weights()}")
        elif given is not None:
            path = Path(given).expanduser().absolute()
            # A stand-in has no weights of the method's: what was given has to be there, and is recorded.
            found += weights.problems(() if stand_in else cls.recipe.weights, path)
        if python is not None and (fault := OwnInterpreter(Path(python).expanduser(), cls.recipe).fault()):
            found.append(f"python={python}: {fault}")
        return found

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
        }

    @classmethod
    def remarks(cls, origin: Mapping[str, Any]) -> list[str]:
        """What a reader of the run has to know of an :meth:`origin`."""
        if origin["stand_in"]:
            return [f"{origin['repository']} only stands in for it ({repository.STAND_IN}): it has no row in any table"]
        pinned, commit = origin["pinned"], origin["commit"]
        if not commit:
            return [f"the commit of {origin['repository']} is unknown: the folder is no git checkout"]
        if pinned and commit != pinned:
            return [f"{origin['repository']} is at commit {commit[:12]}, the adapter was written for {pinned[:12]}"]
        return []

    @classmethod
    def how_to_clone(cls) -> str:
        """The commands that bring the repository at the pinned commit, and the option that names it."""
        recipe = cls.recipe
        folder = recipe.repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
        checkout = f" && git -C {folder} checkout {recipe.commit}" if recipe.commit else ""
        return (
            f"git clone --recurse-submodules {recipe.repository}{checkout}; then --repo {folder} "
            f"(+method.{recipe.method}.repo={folder})"
        )

    @classmethod
    def how_to_get_weights(cls) -> str:
        """Where each of the weights comes from, and the option that names them."""
        named = "; ".join(
            f"{weight.path} ({weight.name}){f' from {weight.source}' if weight.source else ''}"
            for weight in cls.recipe.weights
        )
        what = "FILE or --weights FOLDER" if len(cls.recipe.weights) == 1 else "FOLDER"
        return f"{named}; then --weights {what}"

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
