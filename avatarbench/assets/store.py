"""Where assets lie on this machine, and how a file earns trust: hash first, then a stamp of its size and time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from platformdirs import user_cache_path

from avatarbench import files
from avatarbench.assets.catalogue import Asset
from avatarbench.errors import AssetError

CHUNK = 1 << 20


class WrongHash(AssetError):
    """A file whose bytes are not the pinned ones; the message carries both hashes."""


def cache_root() -> Path:
    """The user's cache folder, or AVATARBENCH_CACHE."""
    chosen = os.environ.get("AVATARBENCH_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else user_cache_path("avatarbench")


def local_folders() -> list[Path]:
    """The folders of AVATARBENCH_ASSETS, in order. Raises AssetError where one does not exist."""
    chosen = [
        Path(part).expanduser().absolute()
        for part in os.environ.get("AVATARBENCH_ASSETS", "").split(os.pathsep)
        if part
    ]
    for folder in chosen:
        if not folder.is_dir():
            raise AssetError(
                f"AVATARBENCH_ASSETS names {folder}, which is not a folder: correct or unset the variable."
            )
    return chosen


def cached_file(asset: Asset) -> Path:
    """Where the ready file stands in the cache once pulled."""
    return cache_root() / "assets" / asset.filename


def find(asset: Asset) -> Path | None:
    """The first place that holds the ready file, right or wrong: the local folders, then the cache."""
    places = [folder / asset.filename for folder in local_folders()] + [cached_file(asset)]
    return next((place for place in places if place.is_file()), None)


def find_unconverted(asset: Asset) -> Path | None:
    """The file as its source has it, in a local folder, for an asset that is converted before use."""
    if asset.conversion is None:
        return None
    places = [folder / asset.conversion.filename for folder in local_folders()]
    return next((place for place in places if place.is_file()), None)


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, hexadecimal. Raises AssetError where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise AssetError(f"cannot read {path}: {error.strerror}.") from error


def check_hash(name: str, path: Path, expected: str) -> None:
    """Raises WrongHash with both hashes where the bytes of ``path`` are not the pinned ones."""
    found = file_sha256(path)
    if found != expected:
        raise WrongHash(
            f"wrong hash for {name}: {path} ({path.stat().st_size:,} bytes)\n"
            f"  expected sha256 {expected}\n  found    sha256 {found}"
        )


def _stamp_file(asset: Asset) -> Path:
    return cache_root() / "assets" / ".verified" / f"{asset.id}.json"


def _stamp(asset: Asset, path: Path) -> dict[str, object]:
    status = path.stat()
    return {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": asset.sha256}


def is_stamped(asset: Asset, path: Path) -> bool:
    """Whether this very file, by size and modification time, was verified before against the hash pinned now."""
    try:
        return json.loads(_stamp_file(asset).read_text(encoding="utf-8")) == _stamp(asset, path)
    except (OSError, ValueError):  # no stamp, or a damaged one: the file is hashed again
        return False


def verify_file(asset: Asset, path: Path) -> None:
    """Hash the ready file in full and stamp it. Raises WrongHash with both hashes."""
    check_hash(f"asset {asset.id}", path, asset.sha256)
    with suppress(AssetError):  # a read-only cache costs a hash each time, nothing more
        stamp = _stamp_file(asset)
        with writing(stamp) as stream:
            stream.write(json.dumps(_stamp(asset, path)).encode())


def trust(asset: Asset, path: Path) -> None:
    """Return if the file is the pinned one, hashing it only if it has no stamp. Raises WrongHash with both hashes."""
    if not is_stamped(asset, path):
        verify_file(asset, path)


@contextmanager
def disk_errors(what: str, folder: Path) -> Iterator[None]:
    """Turn a failed write into an AssetError that names the folder, the cause and the way out."""
    try:
        yield
    except OSError as error:
        raise AssetError(
            f"cannot write {what} in {folder}: {error.strerror or error}. "
            "Free some space there, or point AVATARBENCH_CACHE at a folder you may write to with room."
        ) from error


@contextmanager
def writing(target: Path) -> Iterator[BinaryIO]:
    """A stream whose content becomes ``target`` in one step, on disk, when the block ends without an error.

    Nothing is left behind otherwise. Raises AssetError where the disk is full or the folder cannot be written.
    """
    with (
        disk_errors(target.name, target.parent),
        files.writing(target) as temporary,
        temporary.open("xb") as stream,
    ):
        yield stream


def install(asset: Asset, raw: Path, convert: Callable[[Path, str], bytes]) -> Path:
    """Check the file as a source gave it, convert it if the asset asks for that, and put it in the cache.

    Returns the ready file. Raises WrongHash for either hash, AssetError where the disk is full.
    """
    target = cached_file(asset)
    for left in files.leftovers(target):  # by a process that was killed: the lock is ours
        left.unlink(missing_ok=True)
    if asset.conversion is None:
        check_hash(f"asset {asset.id}", raw, asset.sha256)
        with writing(target) as out, raw.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                out.write(chunk)
    else:
        check_hash(f"asset {asset.id} before conversion", raw, asset.conversion.sha256)
        data = convert(raw, asset.conversion.net)
        found = hashlib.sha256(data).hexdigest()
        if found != asset.sha256:
            raise WrongHash(
                f"wrong hash for asset {asset.id} after conversion\n"
                f"  expected sha256 {asset.sha256}\n  found    sha256 {found}"
            )
        with writing(target) as out:
            out.write(data)
    verify_file(asset, target)
    return target
