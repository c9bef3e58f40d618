"""The data sets that the papers use and nobody may pass on: a user names an own download. Import-light."""

from __future__ import annotations

from pathlib import Path

from avatarbench.dataset import Dataset, DatasetSpec
from avatarbench.errors import DataError

NERSEMBLE = DatasetSpec(
    id="nersemble",
    name="NeRSemble",
    summary="multi-view recordings of 419 people, 16 cameras: v2, v1, or the benchmark's monocular download",
    licence="NeRSemble's terms of use: research, not to be passed on",
    access="application form, then its own download kit: docs/data-nersemble.md",
    factory="avatarbench.datasets.licensed:nersemble",
    option="--data-root",
    family="nersemble",
)

VFHQ = DatasetSpec(
    id="vfhq",
    name="VFHQ-Test",
    summary="50 clips of interviews, frames of 512 x 512",
    licence="VFHQ's terms: research only; the pictures are their owners'",
    access="download from the project page: docs/data-vfhq.md",
    factory="avatarbench.datasets.licensed:vfhq",
    option="--data-root",
    family="vfhq",
)

HDTF = DatasetSpec(
    id="hdtf",
    name="HDTF",
    summary="talking heads cut from YouTube videos, of 512 x 512 or as downloaded",
    licence="CC-BY-4.0 for the lists; the videos are their owners'",
    access="lists from the repository, videos by the user: docs/data-hdtf.md",
    factory="avatarbench.datasets.licensed:hdtf",
    option="--data-root",
    family="hdtf",
)


def nersemble(root: Path | str | None = None) -> Dataset:
    """The user's folder, cameras' colours calibrated where it says how, or a prepared one. Raises DataError."""
    from avatarbench.datasets.nersemble import NersembleDataset
    from avatarbench.datasets.prepared import prepared

    given = _named(root, "nersemble")
    return prepared(given, "nersemble") or NersembleDataset(given, colour=True)


def vfhq(root: Path | str | None = None) -> Dataset:
    """The user's folder, or a prepared one. Raises DataError."""
    from avatarbench.datasets.prepared import prepared
    from avatarbench.datasets.vfhq import VfhqDataset

    given = _named(root, "vfhq")
    return prepared(given, "vfhq") or VfhqDataset(given)


def hdtf(root: Path | str | None = None) -> Dataset:
    """The user's folder, or a prepared one. Raises DataError."""
    from avatarbench.datasets.hdtf import HdtfDataset
    from avatarbench.datasets.prepared import prepared

    given = _named(root, "hdtf")
    return prepared(given, "hdtf") or HdtfDataset(given)


def _named(root: Path | str | None, name: str) -> Path:
    if root is None:
        raise DataError(
            f"'{name}' is licensed data, which is not part of this package: name your copy's folder with --data-root. "
            f"docs/data-{name}.md says how to get it; then 'avatarbench data check {name} --root DIR' and "
            f"'avatarbench data prepare {name} --root DIR --out CACHE'. 'avatarbench data stand-in {name} --out DIR' "
            "writes generated heads in its layout, to try the commands on."
        )
    return Path(root).expanduser()
