"""Check: what of a data set is there, missing or broken, subject by subject, and a manifest of hashes of all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from avatarbench import registry
from avatarbench.datasets import ledger as ledgers
from avatarbench.datasets.ledger import Entry, Ledger
from avatarbench.datasets.marks import data_mark
from avatarbench.datasets.probe import probe
from avatarbench.errors import DataError, UsageError

PARTIAL = (".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp", ".ytdl")
"""What downloaders end unfinished files with."""

SAVED_EVERY = 10.0
"""Seconds of work that a kill costs."""

Advance = Callable[[int, int], None]
"""Told of the bytes done, and of the bytes that there are."""


@dataclass
class Subject:
    """A person, a clip or a video. ``files``: all that belongs to it. ``missing`` and ``broken`` make a check fail,
    ``notes`` do not."""

    name: str
    files: list[Path] = field(default_factory=list)
    present: str = ""
    missing: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        return not self.missing and not self.broken


@dataclass(frozen=True)
class Context:
    """What judging a subject takes: ``frames``: how many a clip needs; ``recording``: the one of NeRSemble's sequences
    that needs them; ``generated``: marked stand-in data, which is smaller by design; ``entries`` by file."""

    root: Path
    frames: int
    recording: str
    generated: bool
    entries: dict[Path, Entry]

    def short(self, subject: Subject, what: str, frames: int) -> None:
        """Say of a clip that it has too few frames to sample."""
        if 0 < frames < self.frames:
            text = f"{what}{frames} frames, the protocols draw {self.frames}"
            (subject.notes if self.generated else subject.broken).append(text)

    def faults(self, subject: Subject, files: Iterable[Path], home: Path) -> int:
        """Take the problems and notes of files over; the number of files without a problem."""
        well = 0
        for path in files:
            found, name = self.entries[path].found, str(path.relative_to(home))
            if found.problem:
                subject.broken.append(f"{name}: {found.problem}")
            else:
                well += 1
            subject.notes += [f"{name}: {note}" for note in found.notes]
        return well


class Checker(Protocol):
    """What knows one layout. ``root``: the folder that paths are told from; ``home``: the subjects', at or below it."""

    root: Path
    home: Path

    def subjects(self) -> list[Subject]:
        """Everybody who is there, with the files, not judged yet."""
        ...

    def judge(self, subject: Subject, context: Context) -> None:
        """Fill in what is present, missing and broken."""
        ...

    def absent(self, subjects: Sequence[Subject]) -> list[str]:
        """What is missing that no subject stands for."""
        ...


@dataclass(frozen=True)
class Report:
    """``missing``: what no subject stands for, e.g. the clips that are not there. ``mark``: the data's own mark."""

    subjects: tuple[Subject, ...]
    missing: tuple[str, ...]
    ledger: Ledger
    mark: str | None

    @property
    def well(self) -> bool:
        return not self.missing and all(subject.well for subject in self.subjects)


def check(
    name: str, root: Path, manifest: Path, decode: bool = False, advance: Advance = lambda done, total: None
) -> Report:
    """Look at every file of the data set ``name`` in ``root``, and keep the hashes at ``manifest``.

    Interrupted, it keeps what was hashed, and goes on from there. Raises UsageError for a name without a check,
    or a manifest that cannot be written, DataError for a folder that is not the data set's and for a manifest that was
    edited.
    """
    from avatarbench.datasets import check_clips, check_nersemble

    checks: dict[str, Callable[[Path], Checker]] = {
        "vfhq": check_clips.Vfhq,
        "hdtf": check_clips.Hdtf,
        "nersemble": check_nersemble.Nersemble,
    }
    if name not in checks:
        raise UsageError(f"'{name}' has no check{registry.suggest(name, sorted(checks))}")
    book = ledgers.load_ledger(manifest, name)
    checker = checks[name](root)
    mark = data_mark(root, checker.home)
    subjects = checker.subjects()
    entries = _look(checker.root, subjects, book, manifest, decode, advance)
    needed, recording = _needed(name)
    context = Context(checker.root, needed, recording, mark is not None, entries)
    for subject in subjects:
        checker.judge(subject, context)
        subject.missing += _unfinished(subject.files, checker.root)
    return Report(tuple(subjects), tuple(() if mark else checker.absent(subjects)), book, mark)


def _needed(name: str) -> tuple[int, str]:
    """The most frames that a protocol draws of a clip of this data set, source included, and of which recording."""
    found = [(0, "")]
    for protocol in registry.everything("protocols"):
        if isinstance(protocol, registry.Broken):
            continue
        split = protocol.split
        if split is not None and protocol.datasets == (name,):
            found.append((split.frames + 1, split.recording))
    return max(found)


def _look(
    root: Path, subjects: Sequence[Subject], book: Ledger, manifest: Path, decode: bool, advance: Advance
) -> dict[Path, Entry]:
    """Every file's entry; those that are known are not read again."""
    files = [(file, file.stat()) for subject in subjects for file in subject.files]
    total, done, saved = sum(stat.st_size for _, stat in files), 0, time.monotonic()
    names = {file: file.relative_to(root).as_posix() for file, _ in files}
    book.entries = {name: book.entries[name] for name in names.values() if name in book.entries}
    book.complete = False
    _save(book, manifest)  # now, rather than after hours: may it be written at all?
    entries: dict[Path, Entry] = {}
    try:
        for file, stat in files:
            entry = book.known(names[file], file, decode)
            if entry is None:
                try:
                    digest = ledgers.sha256(file)
                except OSError as error:
                    raise DataError(f"{file} cannot be read: {error.strerror}. Check its permissions.") from error
                entry = Entry(stat.st_size, stat.st_mtime_ns, digest, probe(file, decode), decode)
                book.entries[names[file]] = entry
            entries[file] = entry
            done += stat.st_size
            advance(done, total)
            if time.monotonic() - saved > SAVED_EVERY:
                _save(book, manifest)
                saved = time.monotonic()
        book.complete = True
    finally:
        _save(book, manifest)
    return entries


def _save(book: Ledger, path: Path) -> None:
    try:
        book.save(path)
    except OSError as error:
        raise UsageError(
            f"the manifest cannot be written to {path} ({error.strerror or error}): name another with --out."
        ) from error


def contents(folder: Path, root: Path) -> Iterator[Path]:
    """Every file below a folder, sorted, hidden ones and what links lead to outside of ``root`` left out."""
    inside = root.resolve()
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}.") from error
    for entry in entries:
        if entry.name.startswith(".") or (entry.is_symlink() and not entry.resolve().is_relative_to(inside)):
            continue
        if entry.is_dir():
            yield from contents(entry, root)
        elif entry.is_file():
            yield entry


def _unfinished(files: Iterable[Path], root: Path) -> list[str]:
    return [f"{f.relative_to(root)} is half-downloaded" for f in files if f.name.lower().endswith(PARTIAL)]
