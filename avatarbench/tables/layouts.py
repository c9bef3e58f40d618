"""How the papers lay out their tables, as data: rows and columns in print order, and our protocols for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avatarbench.errors import DataError, UnknownNameError
from avatarbench.registry import suggest
from avatarbench.tables.published import PublishedValue, Task

PAPERS = {"avatarpointillist": "AvatarPointillist", "splitavatar": "SplitAvatar"}
DATA = {"nersemble": "NeRSemble", "vfhq": "VFHQ", "hdtf": "HDTF"}


@dataclass(frozen=True)
class Layout:
    """One table of a paper. ``rows``: method id and the name that the paper prints, from top to bottom.

    ``columns``: the metrics of each task from left to right. ``protocols``: ours that measure the same on the same
    data; ``corner`` heads the rows.
    """

    paper: str
    table: str
    subject: str
    dataset: str
    rows: tuple[tuple[str, str], ...]
    columns: Mapping[Task, tuple[str, ...]]
    protocols: Mapping[Task, str]
    corner: str = "Method"

    @property
    def reference(self) -> str:
        """``avatarpointillist:1``."""
        return f"{self.paper}:{self.table}"

    @property
    def title(self) -> str:
        """What stands first in the caption: paper, table, what it compares and on which data."""
        return f"{PAPERS[self.paper]}, Table {self.table}: {self.subject}, {DATA[self.dataset]}"

    @property
    def methods(self) -> tuple[str, ...]:
        return tuple(method for method, _ in self.rows)

    @property
    def tasks(self) -> tuple[Task, ...]:
        return tuple(self.columns)

    def place(self, values: Sequence[PublishedValue]) -> dict[tuple[str, Task, str], PublishedValue]:
        """The table's numbers by method, task and metric.

        Raises DataError for a number that the layout has no place for, or a place that two numbers share.
        """
        placed: dict[tuple[str, Task, str], PublishedValue] = {}
        for value in values:
            key = (value.method, value.task, value.metric)
            known = value.method in self.methods and value.metric in self.columns.get(value.task, ())
            if not known or value.dataset != self.dataset or key in placed:
                raise DataError(
                    f"{self.reference} has no place for {value.metric} of {value.method}, {value.task}-reenactment on "
                    f"{value.dataset}: correct published.csv, or the table's layout."
                )
            placed[key] = value
        return placed


OTHERS = (
    ("portrait4dv2", "Portrait4Dv2"),
    ("avatarartist", "AvatarArtist"),
    ("lam", "LAM"),
    ("gagavatar", "GAGAvatar"),
    ("pointillist", "Ours (AvatarPointillist)"),
)
COMPARED = (
    ("cvthead", "CVTHead"),
    ("lam", "LAM"),
    ("gpavatar", "GPAvatar"),
    ("portrait4dv2", "Portrait4D-v2"),
    ("gagavatar", "GAGAvatar"),
    ("splitavatar", "Ours (SplitAvatar)"),
)
FOUR: Mapping[Task, tuple[str, ...]] = {"self": ("LPIPS", "FID", "AKD", "APD"), "cross": ("FID", "CLIP", "AKD", "APD")}
TEN: Mapping[Task, tuple[str, ...]] = {
    "self": ("PSNR", "SSIM", "LPIPS", "CSIM", "AED", "APD", "AKD"),
    "cross": ("CSIM", "AED", "APD"),
}


def _both(dataset: str) -> Mapping[Task, str]:
    return {"self": f"{dataset}-self", "cross": f"{dataset}-cross"}


LAYOUTS = (
    Layout("avatarpointillist", "1", "comparison with other methods", "nersemble", OTHERS, FOUR, _both("nersemble")),
    Layout(
        "avatarpointillist",
        "2",
        "ablation of the Gaussian decoder's input",
        "nersemble",
        (
            ("pointillist/flame-position", "Flame Position"),
            ("pointillist/ar-feature", "AR Feature"),
            ("pointillist/ar-position", "AR Position"),
            ("pointillist", "Ours (AvatarPointillist)"),
        ),
        {"self": FOUR["self"]},
        {"self": "nersemble-ablation"},
    ),
    Layout("avatarpointillist", "S1", "comparison with other methods", "vfhq", OTHERS, FOUR, _both("vfhq")),
    Layout("splitavatar", "1", "comparison with other methods", "vfhq", COMPARED, TEN, _both("vfhq")),
    Layout("splitavatar", "2", "comparison with other methods", "hdtf", COMPARED, TEN, _both("hdtf")),
    Layout(
        "splitavatar",
        "3",
        "ablation of the components",
        "vfhq",
        (
            ("splitavatar", "Ours (SplitAvatar)"),
            ("splitavatar/no-autoregression", "w/o AR N_GSN"),
            ("splitavatar/no-gnn", "w/o GNN"),
            ("splitavatar/no-feature-embedding", "w/o feature embedding"),
            ("splitavatar/no-mask", "w/o N_mask"),
        ),
        TEN,
        _both("vfhq"),
    ),
    Layout(
        "splitavatar",
        "4",
        "splitting factor and number of layers",
        "vfhq",
        (
            ("splitavatar/split-1x1", "1×1"),
            ("splitavatar/split-2x2", "2×2"),
            ("splitavatar", "2×3 (Ours)"),
            ("splitavatar/split-3x2", "3×2"),
            ("splitavatar/split-3x3", "3×3"),
            ("splitavatar/split-4x2", "4×2"),
        ),
        TEN,
        _both("vfhq"),
        corner="Split×layer",
    ),
    Layout(
        "splitavatar",
        "5",
        "a baseline with as many Gaussians",
        "vfhq",
        (("splitavatar", "Ours (SplitAvatar)"), ("splitavatar/baseline-15x", "Baseline 15×")),
        TEN,
        _both("vfhq"),
    ),
)


def layout(paper: str, table: str) -> Layout:
    """Raises UnknownNameError that names the papers, or the paper's tables."""
    tables = [known for known in LAYOUTS if known.paper == paper]
    if not tables:
        raise UnknownNameError(f"no published numbers of the paper '{paper}'{suggest(paper, list(PAPERS))}")
    found = next((known for known in tables if known.table == table), None)
    if found is None:
        known = ", ".join(t.table for t in tables)
        raise UnknownNameError(f"no table '{table}' of {paper} is kept here. Known: {known}.")
    return found


def referred(reference: str) -> Layout:
    """The layout of ``PAPER:TABLE``. Raises UnknownNameError with the near misses."""
    for known in LAYOUTS:
        if known.reference == reference:
            return known
    raise UnknownNameError(f"no published table '{reference}'{suggest(reference, [k.reference for k in LAYOUTS])}")
