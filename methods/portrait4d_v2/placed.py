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
    root = None if given is None else Path(given).expanduser()
    if root is None or not root.is_dir() or repository.stands_in_for(root) is not None:
        return []
    lacks = [name for name in files if not (root / name).exists()]
    return [f"{root} lacks files that its README has one put there: {', '.join(lacks)}; from {source}"] if lacks else []


def on_cpu(options: Mapping[str, Any]) -> list[str]:
    """Why a method whose code names a CUDA device cannot run on the CPU, where that was asked for."""
    return ["device=cpu: its code runs on a CUDA device only"] if options.get("device") == "cpu" else []
