"""A checkout of an official method's repository on the user's machine: whose it is, at which commit, or a stand-in's.

git is never run: in a folder of somebody else's, its configuration could name programs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STAND_IN = "STANDIN.json"
"""At the root of a repository that only stands in for a method's own: nothing that it renders enters a table."""

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF = re.compile(r"refs/[\w./@+-]+")
_SMALL = 4 << 20
"""More than the packed refs of a large project; a larger file is not one of git's."""


@dataclass(frozen=True)
class Checkout:
    """``commit``: what is checked out, "" where the folder does not say. ``stands_in_for``: the method that it only
    stands in for, as its mark says, "" for an unnamed one; None for a real one."""

    root: Path
    commit: str
    stands_in_for: str | None


def look(root: Path) -> Checkout:
    """What a folder says of itself. Raises OSError for one that cannot be read."""
    return Checkout(root, commit_of(root), stands_in_for(root))


def problem(root: Path, expected: Sequence[str]) -> str | None:
    """Why ``root`` is no checkout of the project whose files ``expected`` are among; None where it is."""
    if not root.exists():
        return f"{root} does not exist"
    if not root.is_dir():
        return f"{root} is a file, not the folder of a checkout"
    missing = [name for name in expected if not (root / name).exists()]
    return f"{root} lacks {', '.join(missing)}: it is not this project's checkout" if missing else None


def stands_in_for(root: Path) -> str | None:
    """The method that the repository at ``root`` only stands in for. The mark's presence counts, whatever it holds."""
    mark = root / STAND_IN
    if not mark.exists() and not mark.is_symlink():
        return None
    try:
        named = json.loads(mark.read_text(encoding="utf-8"))["stand_in_for"]
    except (OSError, ValueError, KeyError, TypeError):  # unreadable or of another shape: a mark all the same
        return ""
    return named if isinstance(named, str) else ""


def commit_of(root: Path) -> str:
    """The commit that is checked out at ``root``: of a clone, a worktree or a submodule, on a branch or detached.

    "" where ``root`` is no checkout, or keeps its refs in another way than files.
    """
    try:
        home = _git_folder(root)
        return _resolved(home, _line(home / "HEAD")) if home is not None else ""
    except (OSError, UnicodeDecodeError):  # whatever git could not read either
        return ""


def _git_folder(root: Path) -> Path | None:
    git = root / ".git"
    if git.is_dir():
        return git
    if not git.is_file():
        return None
    kind, _, path = _line(git).partition(": ")
    return root / path if kind == "gitdir" and path else None


def _resolved(home: Path, value: str) -> str:
    """The commit behind HEAD: itself, or that of the branch it names, through at most a few names."""
    shared = home
    if (home / "commondir").is_file():  # a worktree's branches are kept by the clone that it belongs to
        shared = home / _line(home / "commondir")
    for _ in range(5):
        if _COMMIT.fullmatch(value):
            return value
        kind, _, name = value.partition(": ")
        if kind != "ref" or not _REF.fullmatch(name) or ".." in name:
            return ""
        loose = next((place / name for place in (home, shared) if (place / name).is_file()), None)
        value = _line(loose) if loose else _packed(shared / "packed-refs", name)
    return ""


def _packed(path: Path, name: str) -> str:
    if not path.is_file():
        return ""
    for line in _text(path).splitlines():
        commit, _, ref = line.partition(" ")
        if ref == name:
            return commit
    return ""


def _line(path: Path) -> str:
    return next(iter(_text(path).splitlines()), "").strip()


def _text(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_SMALL).decode("utf-8")
