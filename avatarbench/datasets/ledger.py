"""The manifest of a data folder: size, time and sha256 of every file, and what was found in it, with a seal.

``contents`` is a hash of names, sizes and contents alone: equal for equal data on any machine. ``seal`` is one of all
that the file says, so that an edit by hand is noticed. A later check takes over the hash of a file whose size and time
of change are what they were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avatarbench.datasets.probe import Found
from avatarbench.errors import DataError
from avatarbench.files import writing

NAME = "avatarbench-manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """One file: bytes, time of change in nanoseconds, contents, and what :func:`avatarbench.datasets.probe.probe` said.

    ``decoded``: whether that was said of every frame and pixel.
    """

    size: int
    changed: int
    sha256: str
    found: Found
    decoded: bool = False


@dataclass
class Ledger:
    """``entries`` by path inside the data folder, with ``/``; ``complete``: whether every file was looked at."""

    dataset: str
    entries: dict[str, Entry] = field(default_factory=dict)
    complete: bool = False

    def known(self, name: str, path: Path, decoded: bool) -> Entry | None:
        """The entry of a file that is as it was, looked at as closely as is asked for. Raises OSError."""
        entry = self.entries.get(name)
        if entry is None or (decoded and not entry.decoded):
            return None
        stat = path.stat()
        return entry if (stat.st_size, stat.st_mtime_ns) == (entry.size, entry.changed) else None

    @property
    def contents(self) -> str:
        """sha256 over every file's name, size and sha256."""
        files = {name: [e.size, e.sha256] for name, e in self.entries.items()}
        return _digest({"dataset": self.dataset, "files": files})

    def save(self, path: Path) -> None:
        """Write the whole manifest or nothing. Raises OSError."""
        content = {
            "format": FORMAT,
            "dataset": self.dataset,
            "complete": self.complete,
            "contents": self.contents,
            "files": {name: _row(entry) for name, entry in sorted(self.entries.items())},
        }
        text = json.dumps({**content, "seal": _digest(content)}, indent=0, ensure_ascii=False)
        with writing(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def load_ledger(path: Path, dataset: str) -> Ledger:
    """The manifest at ``path``; an empty one where there is none yet.

    Raises DataError for one that was edited by hand or damaged, is of another data set, or of another format.
    """
    again = f"Remove {path} to have every file hashed anew."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        seal = content.pop("seal")
    except (FileNotFoundError, NotADirectoryError):
        return Ledger(dataset)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{path} is no manifest of hashes ({type(error).__name__}: {error}). {again}") from error
    if seal != _digest(content):
        raise DataError(f"{path} was changed after it was written: its seal is not that of its contents. {again}")
    if content.get("format") != FORMAT or content.get("dataset") != dataset:
        raise DataError(
            f"{path} is of '{content.get('dataset')}' in format {content.get('format')}, and '{dataset}' in format "
            f"{FORMAT} is asked for. {again}"
        )
    entries = {name: _entry(row) for name, row in content["files"].items()}
    return Ledger(dataset, entries, bool(content["complete"]))


def sha256(path: Path) -> str:
    """Of a file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _row(entry: Entry) -> list[Any]:
    found = entry.found
    return [entry.size, entry.changed, entry.sha256, found.frames, found.problem, list(found.notes), entry.decoded]


def _entry(row: list[Any]) -> Entry:
    size, changed, digest, frames, problem, notes, decoded = row
    return Entry(size, changed, digest, Found(frames, problem, tuple(notes)), decoded)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
