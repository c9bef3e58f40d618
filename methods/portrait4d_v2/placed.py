"""Files that a method's README has its user put into the checkout: told before any work where they are missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from avatarbench.isolation import repository


def missing(options: Mapping[str, Any], files: Sequence[str], source: str) -> list[str]:
    """What of ``files`` is not in the checkout ``options["repo"]``, in one line; nothing of a stand-in, which has its
    own, or where there is no checkout, which is told already."""
    given = options.get("repo")
    root = Path(given).expanduser() if isinstance(given, str) else None
    if root is None or not root.is_dir() or repository.stands_in_for(root) is not None:
        return []
    lacks = [name for name in files if not (root / name).exists()]
    return [f"{root} lacks files that its README has one put there: {', '.join(lacks)}; from {source}"] if lacks else []
