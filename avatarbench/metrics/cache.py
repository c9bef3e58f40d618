"""The content-addressed feature cache: (extractor fingerprint, frame digest) -> arrays, or why there are none."""

from __future__ import annotations

import os
import sqlite3
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from avatarbench.assets import cache_root
from avatarbench.metrics.features import Missing

Arrays = Mapping[str, NDArray[np.generic]]
FILE_NAME = "features-v1.sqlite3"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS features (
    extractor TEXT NOT NULL, frame TEXT NOT NULL, reason TEXT, arrays BLOB, crc INTEGER,
    PRIMARY KEY (extractor, frame)
) WITHOUT ROWID
"""
_CHUNK = 200
_PATIENCE = 60.0  # seconds that a process waits for another's write


class FeatureCache:
    """Features of frames on disk, shared by processes; with ``path`` None in the memory of this object alone.

    The key holds everything a feature depends on, so an entry is never stale. A damaged entry or file is dropped with
    a warning and computed again; a disk that cannot be written costs the caching, never the run.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._memory: dict[tuple[str, str], Arrays | Missing] = {}
        self._database: sqlite3.Connection | None = None
        if path is not None:
            self._database = self._open(path)

    @classmethod
    def default(cls) -> Self:
        """The file of ``AVATARBENCH_FEATURES``, or one in the user's cache folder (``AVATARBENCH_CACHE``)."""
        chosen = os.environ.get("AVATARBENCH_FEATURES")
        return cls(Path(chosen).expanduser() if chosen else cache_root() / FILE_NAME)

    def get_many(self, extractor: str, digests: Sequence[str]) -> dict[str, Arrays | Missing]:
        """What is known of these frames, by digest; frames not in the cache are left out."""
        found = {d: self._memory[extractor, d] for d in digests if (extractor, d) in self._memory}
        database = self._database
        if database is None:
            return found
        left = [d for d in dict.fromkeys(digests) if d not in found]
        for start in range(0, len(left), _CHUNK):
            if self._database is not database:  # the last read found it broken
                break
            for digest, reason, blob, crc in self._read(database, extractor, left[start : start + _CHUNK]):
                value = Missing(reason) if reason is not None else _decode(blob, crc)
                if value is None:
                    self._warn(f"an entry of the feature cache {self.path} is damaged; its features are computed again")
                else:
                    found[digest] = value
        return found

    def put_many(self, extractor: str, features: Iterable[tuple[str, Arrays | Missing]]) -> None:
        """Keep features by digest. An entry that is there already is replaced."""
        pairs = list(features)
        if self._database is None:
            self._memory.update({(extractor, digest): value for digest, value in pairs})
            return
        rows = [(extractor, digest, *_encode(value)) for digest, value in pairs]
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?, ?)", rows)
        except sqlite3.OperationalError as error:  # disk full, read-only, or locked for longer than our patience
            self._give_up(f"the feature cache {self.path} cannot be written ({error})", extractor, pairs)
        except sqlite3.DatabaseError as error:
            self._restart(error)
            self._memory.update({(extractor, digest): value for digest, value in pairs})

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
        self._memory.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(
        self, database: sqlite3.Connection, extractor: str, digests: Sequence[str]
    ) -> list[tuple[str, str | None, bytes, int]]:
        marks = ",".join("?" * len(digests))
        query = f"SELECT frame, reason, arrays, crc FROM features WHERE extractor = ? AND frame IN ({marks})"
        try:
            return database.execute(query, (extractor, *digests)).fetchall()
        except sqlite3.OperationalError as error:
            self._give_up(f"the feature cache {self.path} cannot be read ({error})", extractor, [])
        except sqlite3.DatabaseError as error:
            self._restart(error)
        return []

    def _open(self, path: Path) -> sqlite3.Connection | None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return _connect(path)
        except (sqlite3.OperationalError, OSError) as error:
            self._warn(f"the feature cache {path} cannot be opened ({error}); features are kept in memory")
        except sqlite3.DatabaseError as error:
            return self._replace(path, error)
        return None

    def _replace(self, path: Path, error: sqlite3.DatabaseError) -> sqlite3.Connection | None:
        """A fresh file in the place of one that is not a database: what it held is computed again."""
        self._warn(f"the feature cache {path} is damaged ({error}); it is deleted and its features are computed again")
        try:
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
            return _connect(path)
        except (sqlite3.DatabaseError, OSError) as again:
            self._warn(f"the feature cache {path} cannot be made anew ({again}); features are kept in memory")
            return None

    def _restart(self, error: sqlite3.DatabaseError) -> None:
        if self._database is not None and self.path is not None:
            self._database.close()
            self._database = self._replace(self.path, error)

    def _give_up(self, what: str, extractor: str, pairs: Sequence[tuple[str, Arrays | Missing]]) -> None:
        self._warn(f"{what}; features are kept in memory from here on")
        if self._database is not None:
            self._database.close()
            self._database = None
        self._memory.update({(extractor, digest): value for digest, value in pairs})

    @staticmethod
    def _warn(text: str) -> None:
        warnings.warn(text + ".", RuntimeWarning, stacklevel=4)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_PATIENCE)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last entries, never the file
        with database:
            database.execute(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _encode(value: Arrays | Missing) -> tuple[str | None, bytes, int]:
    if isinstance(value, Missing):
        return value.reason, b"", 0
    blob = save({name: np.array(array, order="C") for name, array in value.items()})
    return None, blob, zlib.crc32(blob)


def _decode(blob: bytes, crc: int) -> Arrays | None:
    """The arrays, or None where the bytes are not the ones that were written."""
    if not isinstance(blob, bytes) or zlib.crc32(blob) != crc:
        return None
    try:
        return load(blob)
    except (SafetensorError, ValueError, KeyError):
        return None
