"""Weights and files: what there is, whether it is here, and how it gets here. Imports neither torch nor numpy."""

from avatarbench.assets.catalogue import Asset, Conversion, OwnerUrl, PackageFile
from avatarbench.assets.lookup import get, ids
from avatarbench.assets.progress import BarProgress, PullProgress
from avatarbench.assets.pull import State, ensure, path, pull, pull_all, sha256, state, verify
from avatarbench.assets.store import cache_root

__all__ = [
    "Asset",
    "BarProgress",
    "Conversion",
    "OwnerUrl",
    "PackageFile",
    "PullProgress",
    "State",
    "cache_root",
    "ensure",
    "get",
    "ids",
    "path",
    "pull",
    "pull_all",
    "sha256",
    "state",
    "verify",
]
