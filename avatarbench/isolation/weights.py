"""The weights that a user has for an official method: all there, whole, of the right size, of the right hash.

A hash is computed once for a file and kept with its size and time. Where none is known, that of what the user has is
recorded, so that two runs can be compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from avatarbench.assets import cache_root
from avatarbench.errors import AssetError
from avatarbench.files import writing
from avatarbench.isolation.bring import rounded
from avatarbench.isolation.recipe import Weight
from avatarbench.isolation.whole import damage, files_of

LARGE = 64 << 20
"""Bytes from which on hashing takes so long that it is told."""

ROUNDED = 0.02
"""How far, relatively, a size may be from one that is only stated rounded."""


@dataclass(frozen=True)
class Held:
    """A weight as the user has it: a file, or a folder whose hash is that of its files' names and hashes."""

    weight: Weight
    path: Path


def place(weights: Sequence[Weight], given: Path) -> list[Held]:
    """Where each weight is looked for: below the folder ``given``, or ``given`` itself, a method's only weight."""
    if len(weights) == 1 and given.is_file():
        return [Held(weights[0], given)]
    return [Held(weight, given / weight.path) for weight in weights]


def problems(weights: Sequence[Weight], given: Path) -> list[str]:
    """What is wrong with the weights in ``given``, a line each: missing, of another size, of another hash."""
    if not given.exists():
        return [f"{given} does not exist"]
    if given.is_file() and len(weights) > 1:
        names = ", ".join(weight.path for weight in weights)
        return [f"{given} is one file, and there are {len(weights)}: give the folder that holds {names}"]
    return [fault for held in place(weights, given) if (fault := _fault(held))]


def _fault(held: Held) -> str | None:
    weight, path = held.weight, held.path
    if not path.exists():
        return f"{weight.name} is missing: {path}" + (f", from {weight.source}" if weight.source else "")
    try:
        wrong = "; it ".join(filter(None, (_size_fault(weight, path), damage(path)))) or _hash_fault(weight, path)
    except OSError as error:
        return f"{weight.name} cannot be read ({path}): {error.strerror}"
    again = f". Get it again{f' from {weight.source}' if weight.source else ''}"
    return f"{weight.name} {wrong} ({path}){again}" if wrong else None


def _size_fault(weight: Weight, path: Path) -> str | None:
    size = _size(path)
    if weight.size and size != weight.size:
        return f"has {size:,} bytes, {weight.size:,} are expected"
    over = 0 if path.is_dir() else size - weight.about  # a folder may hold the same in a second form
    if weight.about and max(weight.about - size, over) > ROUNDED * weight.about:
        return f"has {size:,} bytes, {rounded(weight.about)} are expected"
    return None


def _hash_fault(weight: Weight, path: Path) -> str | None:
    if weight.sha256 and (found := digest(path)) != weight.sha256:
        return f"has the sha256 {found}, {weight.sha256} is expected"
    if weight.md5 and (found := _file(path, "md5")) != weight.md5:
        return f"has the MD5 {found}, {weight.md5} is expected"
    return None


def describe(weights: Sequence[Weight], given: Path) -> dict[str, dict[str, str | int]]:
    """By weight: its path, size in bytes and sha256 as the user has them. Raises AssetError for what cannot be read."""
    return {held.weight.name: entry(held.path) for held in place(weights, given)}


def entry(path: Path) -> dict[str, str | int]:
    """What a run's record holds of a weight. Raises AssetError for what cannot be read."""
    return {"path": str(path), "size": _size(path), "sha256": digest(path)}


def digest(path: Path) -> str:
    """sha256 of a file, or of a folder's files without hidden ones. Raises AssetError where one cannot be read."""
    if path.is_file():
        return _file(path)
    lines = [f"{file.relative_to(path).as_posix()} {_file(file)}" for file in files_of(path)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _size(path: Path) -> int:
    files = [path] if path.is_file() else files_of(path)
    return sum(file.stat().st_size for file in files)


def _file(path: Path, kind: str = "sha256") -> str:
    """The hash as it is known of this very file, by its size and time, or computed and kept."""
    path = path.resolve()
    status = path.stat()
    stamp: dict[str, str | int] = {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
    entry = _known().get(str(path), {})
    unchanged = stamp.items() <= entry.items()
    if unchanged and isinstance(found := entry.get(kind), str):
        return found
    if status.st_size >= LARGE:
        from avatarbench.run.progress import console

        console.print(f"hashing {path} ({status.st_size / 1e9:.1f} GB), once ...", highlight=False, soft_wrap=True)
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, kind).hexdigest()
    except OSError as error:
        raise AssetError(f"cannot read {path}: {error.strerror}.") from error
    with suppress(OSError), writing(_store()) as temporary:  # without a cache it is hashed again, nothing more
        temporary.write_text(
            json.dumps({**_known(), str(path): {**(entry if unchanged else stamp), kind: found}}, indent=1), "utf-8"
        )
    return found


def _store() -> Path:
    return cache_root() / "weights.json"


def _known() -> Mapping[str, Mapping[str, str | int]]:
    try:
        found = json.loads(_store().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or damaged: files are hashed again
        return {}
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}
