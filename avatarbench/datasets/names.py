"""File names to sequence names: safe in every file system and unique whatever the case."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_LONGEST = 80


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sort key under which ``frame2`` comes before ``frame10``."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [*((0, int(p), "") if p[0].isdigit() else (1, 0, p.casefold()) for p in parts), (2, 0, name)]


def sequence_names(files: Sequence[str]) -> dict[str, str]:
    """Sequence name by file name. Accents are dropped, other odd characters become ``_``.

    File names whose sequence names would be equal (but for the case) all take a short hash of the file name, so that a
    name never depends on the order of the files.
    """
    plain = {file: _safe(_stem(file)) for file in files}
    count = Counter(name.casefold() for name in plain.values())
    return {f: n if count[n.casefold()] == 1 else f"{n}-{_hash(f)}" for f, n in plain.items()}


def _stem(file: str) -> str:
    return file.rpartition(".")[0] or file


def _safe(stem: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_only).strip("._-")
    if not name:  # nothing of a name in another script is left
        return f"sequence-{_hash(stem)}"
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}-{_hash(stem)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]
