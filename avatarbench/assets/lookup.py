"""Assets by id: the catalogue's, and those that other packages bring.

A package registers an asset with an entry point of the group ``avatarbench.assets`` whose value is an :class:`Asset`;
the entry's name is the asset's id. Nothing of a package is imported before its asset is asked for.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from avatarbench.assets.catalogue import CATALOGUE, Asset
from avatarbench.errors import AssetError, UnknownNameError
from avatarbench.registry import suggest

GROUP = "avatarbench.assets"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@cache
def _entries() -> dict[str, dict[str, EntryPoint]]:
    """Entry points by name and value: a package that is found twice on the path registers once."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        found.setdefault(entry.name, {})[entry.value] = entry
    return found


def ids() -> list[str]:
    """Every asset's id: the catalogue's, then those of other packages, sorted. Imports nothing."""
    return [*CATALOGUE, *(name for name in _entries() if name not in CATALOGUE)]


def get(id: str) -> Asset:
    """The asset of that id.

    Raises UnknownNameError with the near misses; AssetError where two packages bring it or its package's is unusable.
    """
    entries = list(_entries().get(id, {}).values())
    owners = ["avatarbench"] * (id in CATALOGUE) + [_owner(entry) for entry in entries]
    if len(owners) > 1:
        raise AssetError(f"asset '{id}' is brought by more than one package: {', '.join(owners)}. Uninstall one.")
    if not owners:
        raise UnknownNameError(f"unknown asset '{id}'{suggest(id, ids())}")
    return CATALOGUE[id] if id in CATALOGUE else _load(entries[0])


def usable() -> list[Asset]:
    """All assets but those whose package is at fault; :func:`get` says what is wrong with one of these."""
    found = []
    for id in ids():
        try:
            found.append(get(id))
        except AssetError:  # told to whoever names it
            continue
    return found


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "unknown package"


@cache
def _load(entry: EntryPoint) -> Asset:
    where = f"asset '{entry.name}' of {_owner(entry)} ({entry.value})"
    try:
        asset = entry.load()
    except Exception as error:  # another package's module may raise anything
        raise AssetError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if fault := _fault(entry.name, asset):
        raise AssetError(f"{where} cannot be used: {fault}. Tell its authors.")
    return asset


def _fault(name: str, asset: object) -> str | None:
    """Why an object cannot be an asset. Its id and file name become paths in the cache, so they are plain names."""
    if not isinstance(asset, Asset):
        return f"it is a {type(asset).__name__}, not an avatarbench.assets.Asset"
    if asset.id != name:
        return f"its id is '{asset.id}', and the entry point is named '{name}'"
    for what, text in (("id", asset.id), ("filename", asset.filename)):
        if not _PLAIN.fullmatch(text):
            return f"its {what} {text!r} is not a plain name (letters, digits and . _ + -)"
    if not _SHA256.fullmatch(asset.sha256):
        return f"its sha256 {asset.sha256!r} is not 64 lower-case hexadecimal digits"
    if not asset.sources:
        return "it names no source"
    for ours in CATALOGUE.values():
        if ours.filename == asset.filename and ours.sha256 != asset.sha256:
            return f"its filename '{asset.filename}' is that of avatarbench's own asset '{ours.id}'"
    return None
