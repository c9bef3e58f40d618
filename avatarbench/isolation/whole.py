"""Whether a file of weights is whole, by what the file says of itself: most authors state neither size nor hash.

A download that was cut short, and a page or a pointer saved in a file's place, are found before a model is loaded for
minutes; a bit that flipped is not.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tokenize import TokenError

import numpy as np

_START = 512
_MOST = 100_000_000
"""Bytes of a safetensors header, by its specification."""

_WEIGHTS = frozenset((".bin", ".ckpt", ".npy", ".npz", ".pkl", ".pt", ".pth", ".safetensors"))
"""The files of a folder that are looked at: an empty ``__init__.py`` or another framework's pointer is no damage."""

_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""What torch.save began with before 1.6: a pickle of its own number. Tensors end such a file."""


def damage(path: Path) -> str | None:
    """What is wrong with a file, or with one in a folder, as the rest of a sentence that names it; None where nothing
    shows. Raises OSError."""
    if path.is_dir():
        files = list(files_of(path))
        weights = (file for file in files if file.suffix in _WEIGHTS)
        found = (f"{why} ({file.relative_to(path)})" for file in weights if (why := _damage(file)))
        return next(found, None) if files else "holds no file"
    return _damage(path)


def files_of(folder: Path) -> Iterator[Path]:
    """The files of a folder of weights, in order. Hidden ones are not its own: git's, a hub's cache, a desktop's."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts):
            yield file


def _damage(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(_START)
        stream.seek(max(size - 1, 0))
        end = stream.read(1)
    if not start:
        return "is an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "is the pointer that git leaves without LFS: run `git lfs pull` where it was cloned"
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "is a page of HTML, as a download that asks for a confirmation or a login leaves"
    if start.startswith(b"PK\x03\x04"):  # torch.save's form since 1.6; its directory is at the end
        return None if zipfile.is_zipfile(path) else "is cut short: the directory at its end is missing"
    if path.suffix == ".safetensors":
        return _safetensors(path, size)
    if start.startswith(b"\x93NUMPY"):
        return _npy(path, size)
    if path.suffix == ".pkl" and start[:1] == b"\x80" and _TORCH not in start and end != b".":
        return "is cut short: a pickle ends with a full stop"
    return None


def _safetensors(path: Path, size: int) -> str | None:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= _MOST:
            return "is not in the form of safetensors"
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            expected = 8 + length + int(max(ends, default=0))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError):
            return f"is cut short, at {size:,} bytes" if size < 8 + length else "is not in the form of safetensors"
    return None if size == expected else f"has {size:,} bytes, and its header tells of {expected:,}"


def _npy(path: Path, size: int) -> str | None:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with path.open("rb") as stream:
        try:
            version = np.lib.format.read_magic(stream)
            if version not in readers:  # 3.0 names fields in Unicode
                return None
            shape, _, dtype = readers[version](stream)
        except (ValueError, SyntaxError, TokenError):
            return "is not in the form of numpy's files, or cut short"
        expected = stream.tell() + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if dtype.hasobject:  # a pickle follows
        return None
    # More may follow: one array after another in one file
    return f"has {size:,} bytes, and its header tells of {expected:,}" if size < expected else None
