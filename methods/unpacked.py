"""What lies in a checkout only once its authors' archives have been unpacked there: told before any work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def not_unpacked(repo: Any, folders: Sequence[str], how: str) -> list[str]:
    """One line where one of ``folders``, relative to the checkout ``repo``, holds nothing but a README; ``how``: what
    brings it. ``a|b`` is either of two. Nothing where there is no checkout to look at, which is told elsewhere."""
    root = Path(repo).expanduser() if isinstance(repo, str) else None
    if root is None or not root.is_dir():
        return []
    empty = [names for names in folders if not any(_holds(root / name) for name in names.split("|"))]
    return [f"{root} has nothing in {', '.join(empty).replace('|', ' or ')}: {how}"] if empty else []


def _holds(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(not p.name.startswith(("README", ".")) for p in path.iterdir()))
