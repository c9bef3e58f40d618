"""``--repo`` and ``--weights`` of ``avatarbench run``: what a user has of an official method, checkout and weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avatarbench import registry
from avatarbench.errors import UsageError
from avatarbench.registry import suggest

PATHS = ("repo", "weights", "python", "flame_file")
"""Options of methods with an environment of their own that are paths: absolute in the record, for a resumed run."""


def add_paths(options: dict[str, dict[str, Any]], methods: Sequence[str], flag: str, given: Sequence[str]) -> None:
    """Put ``--flag PATH`` or ``--flag METHOD=PATH`` among the options of the method that it is for.

    What stands there already, by KEY=VALUE, wins. Raises UsageError where no method, or more than one, is meant.
    """
    taken: set[str] = set()
    for text in given:
        method, path = _meant(methods, flag, text)
        if method in taken:
            raise UsageError(f"--{flag} was given twice for '{method}': give one.")
        taken.add(method)
        options.setdefault(method, {}).setdefault(flag, path)


def make_absolute(options: dict[str, dict[str, Any]], methods: Sequence[str]) -> None:
    """Paths of methods with an environment of their own, from the folder that the run is started in."""
    for method in _apart(methods):
        for name in PATHS:
            if isinstance(path := options.get(method, {}).get(name), str):
                options[method][name] = str(Path(path).expanduser().absolute())


def _meant(methods: Sequence[str], flag: str, text: str) -> tuple[str, str]:
    """The method and the path of one ``--flag``. A path may hold an equals sign itself."""
    name, equals, path = text.partition("=")
    apart = _apart(methods)
    if equals and name in registry.names("methods"):
        if name not in methods:
            raise UsageError(f"--{flag} {text}: the run has no method '{name}'{suggest(name, list(methods))}")
        if name not in apart:
            raise UsageError(f"--{flag} {text}: '{name}' runs in this process, from its own code: leave it out.")
        if not path:
            raise UsageError(f"--{flag} {text}: give a path after the equals sign.")
        return name, path
    if equals and "/" not in name and not Path(text).expanduser().exists():
        raise UsageError(f"--{flag} {text}: unknown method '{name}'{suggest(name, apart or list(methods))}")
    if not apart:
        raise UsageError(
            f"--{flag} {text}: no chosen method runs in an environment of its own, so that it is for none."
        )
    if len(apart) > 1:
        each = " ".join(f"--{flag} {method}=PATH" for method in apart)
        raise UsageError(f"--{flag} {text}: it could be for {' or '.join(apart)}: say for which ({each}).")
    return apart[0], text


def _apart(methods: Sequence[str]) -> list[str]:
    """Of the chosen methods those that run in an environment of their own; unknown names are reported elsewhere."""
    known = registry.names("methods")
    return [m for m in dict.fromkeys(methods) if m in known and registry.method(m).environment != "inprocess"]
