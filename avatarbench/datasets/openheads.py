"""OpenHeads: rendered heads whose motion and camera are known. The test split is part of the package. Import-light."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from avatarbench.dataset import Dataset, DatasetSpec
from avatarbench.errors import DataError

OPENHEADS = DatasetSpec(
    id="openheads",
    name="OpenHeads",
    summary="rendered heads with cameras and masks: the test split (9 people, 256 x 256), or a folder you generated",
    licence="CC0-1.0, pictures and truth; made with the head model Anny, whose data is CC0-1.0 too",
    access="embedded: the test split is part of this package",
    factory="avatarbench.datasets.openheads:openheads",
    option="--openheads",
    family="openheads",
)


def embedded_split() -> Path:
    """The folder of the embedded test split. Raises DataError where the installation lacks it."""
    folder = Path(str(files("avatarbench.openheads"))) / "test"
    if not folder.is_dir():
        raise DataError(
            f"this installation lacks the OpenHeads test split (looked for {folder}): install avatarbench again, or "
            "name a generated folder with --openheads."
        )
    return folder


def openheads(root: Path | str | None = None) -> Dataset:
    """The embedded test split, or the user's own folder in the same layout. Raises DataError where there is none."""
    from avatarbench.datasets.nersemble import NersembleDataset

    return NersembleDataset(embedded_split(), avatars=True) if root is None else NersembleDataset(root)
