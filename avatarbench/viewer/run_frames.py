"""The frames of a run, sample by sample: what went in, what came out, and how it scored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avatarbench import registry
from avatarbench.dataset import Dataset
from avatarbench.datasets.crop import Crop, apply
from avatarbench.datasets.images import read_image
from avatarbench.errors import AvatarbenchError, DataError
from avatarbench.protocol import FrameRef, Pair
from avatarbench.run.record import RunRecord, read_samples
from avatarbench.run.render import AVATARS, prediction_path

BLANK = 235
"""The grey of a picture that is not there."""


@dataclass(frozen=True)
class Cell:
    """One picture of a sample, (S, S, 3) uint8, blank where ``why`` says what is missing."""

    title: str
    image: NDArray[np.uint8]
    why: str = ""


class RunFrames:
    """A run folder. Raises DataError where it holds no run, or none that has frames of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = RunRecord.load(folder)
        self.methods = [m.id for m in self.record.methods if m.unavailable is None]
        self.size = self.record.protocol.size
        if not (folder / "manifest.json").is_file():
            raise DataError(
                f"{folder} holds no pictures: it scored frames that are elsewhere, or was stopped before its first. "
                "View a run of `avatarbench run`."
            )
        self.pairs = [_pair(p, folder) for p in _json(folder / "manifest.json").get("pairs", [])]
        if not self.pairs:
            raise DataError(f"{folder / 'manifest.json'} names no samples: do the run again.")
        self._with_truth = any(p.target not in (None, p.driver) for p in self.pairs)
        inputs = folder / "inputs.json"
        self._crops: dict[str, Any] = _json(inputs) if inputs.is_file() else {}
        self._datasets: dict[str, Dataset] = {}

    def row(self, index: int) -> list[Cell]:
        """Source, driver, each method's prediction and, where a sample's is not its driver, the true frame."""
        pair = self.pairs[index]
        cells = [self._real("source", pair.source), self._real("driver", pair.driver)]
        cells += [self._prediction(method, pair.id) for method in self.methods]
        if self._with_truth and pair.target is None:
            cells.append(self._missing("truth", "this sample has no true frame"))
        elif self._with_truth and pair.target is not None:
            cells.append(self._real("truth", pair.target))
        return cells

    def scores(self, index: int) -> list[tuple[str, str, str]]:
        """(method, metric, value or why there is none) of a sample, as the run's table counts them."""
        sample, found = self.pairs[index].id, []
        for row in self._scored.get(sample, []):
            value = row["reason"] if math.isnan(row["value"]) else f"{row['value']:.4g}"
            found.append((self._title(row["method"]), row["metric"], str(value)))
        return found

    @cached_property
    def _scored(self) -> dict[str, list[dict[str, Any]]]:
        if not (self.folder / "samples.parquet").is_file():  # a run that was stopped has none
            return {}
        by_sample: dict[str, list[dict[str, Any]]] = {}
        for row in read_samples(self.folder).to_pylist():
            by_sample.setdefault(row["sample"], []).append(row)
        return by_sample

    def _prediction(self, method: str, sample: str) -> Cell:
        path = prediction_path(self.folder, method, sample)
        if path.is_file():
            return self._cell(self._title(method), lambda: read_image(path)[0])
        reasons = [r["reason"] for r in self._scored.get(sample, []) if r["method"] == method and r["reason"]]
        return self._missing(self._title(method), reasons[0] if reasons else "not rendered")

    def _title(self, method: str) -> str:
        return f"{method} (stand-in)" if any(m.id == method and m.stands_in for m in self.record.methods) else method

    def _real(self, title: str, ref: FrameRef) -> Cell:
        return self._cell(title, lambda: self._frame(ref))

    def _frame(self, ref: FrameRef) -> NDArray[np.uint8]:
        """The frame as the methods saw it. Raises DataError where the run's data is no longer where it was."""
        crop = self._crops.get(f"{ref.dataset}/{ref.sequence}")
        if crop is None or "missing" in crop:
            raise DataError(crop["missing"] if crop else "the run was stopped before it wrote down its crops")
        if ref.dataset not in self._datasets:
            root = self.record.config.get("data", {}).get(ref.dataset)
            factory = registry.load(registry.dataset(ref.dataset).factory)
            self._datasets[ref.dataset] = factory(Path(root) if root else None)
        dataset = self._datasets[ref.dataset]
        if ref.sequence not in dataset.sequences():
            raise DataError(f"'{ref.sequence}' is no longer in the dataset '{ref.dataset}'")
        return apply(dataset.read(ref.sequence, ref.index), Crop(**crop), self.size)

    def _cell(self, title: str, load: Any) -> Cell:
        try:
            return Cell(title, load())
        except AvatarbenchError as error:
            return self._missing(title, str(error))

    def _missing(self, title: str, why: str) -> Cell:
        return Cell(title, np.full((self.size, self.size, 3), BLANK, np.uint8), why)


def avatars_of(folder: Path) -> Iterator[Path]:
    """The avatars that a run kept, links not followed."""
    for path in sorted((folder / AVATARS).rglob("*.avatar")):
        if path.is_file() and not path.is_symlink():
            yield path


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}. Do the run again.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path} is not what a run writes there: do the run again.")
    return found


def _pair(entry: Any, folder: Path) -> Pair:
    try:
        refs = {k: FrameRef(**entry[k]) if entry[k] else None for k in ("source", "driver", "target")}
        sample = str(entry["id"])
    except (TypeError, KeyError) as error:
        raise DataError(f"{folder / 'manifest.json'} has a sample that is none ({error}): do the run again.") from error
    if refs["source"] is None or refs["driver"] is None or ".." in Path(sample).parts or Path(sample).is_absolute():
        raise DataError(f"{folder / 'manifest.json'} has a sample that is none ({sample!r}): do the run again.")
    return Pair(sample, refs["source"], refs["driver"], refs["target"])
