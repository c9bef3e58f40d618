"""The contact sheet: one picture a run, because a table cannot show a mirrored or mis-cropped face."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from avatarbench.datasets.images import write_png
from avatarbench.errors import AvatarbenchError
from avatarbench.metrics.features import Missing
from avatarbench.metrics.scorer import LazyImage
from avatarbench.protocol import Pair
from avatarbench.run.score import Scene

ROWS = 6
MARGIN = 18


def contact_sheet(scene: Scene, methods: Sequence[str], path: Path, stand_ins: Collection[str] = ()) -> None:
    """Write ``path``: six evenly spaced pairs, one a row.

    Columns: source, driver, the true frame where it is not the driver's, then each method's prediction, all in the
    protocol's frame. The first row is the manifest's first pair.
    """
    pairs = _spread(scene.manifest.pairs)
    size = scene.manifest.image.size
    with_truth = any(pair.target not in (None, pair.driver) for pair in pairs)
    driver = "driver = target" if any(pair.target == pair.driver for pair in pairs) else "driver"
    titles = ("source", driver, *(("target",) if with_truth else ()), *(_title(m, stand_ins) for m in methods))
    sheet = np.full((MARGIN + len(pairs) * size, len(titles) * size, 3), 255, np.uint8)
    for row, pair in enumerate(pairs):
        real = [pair.source, pair.driver, *((pair.target,) if with_truth and pair.target else ())]
        cells = [*map(scene.real, real), *(scene.prediction(m, pair.id) for m in methods)]
        for column, cell in enumerate(cells):
            y, x = MARGIN + row * size, column * size
            sheet[y : y + size, x : x + size] = _image(cell, size)
    canvas = Image.fromarray(sheet)
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        draw.text((column * size + 4, 3), title, fill=(0, 0, 0))
    write_png(path, np.asarray(canvas))


def _title(method: str, stand_ins: Collection[str]) -> str:
    return f"{method} (stand-in)" if method in stand_ins else method


def _spread(pairs: Sequence[Pair]) -> list[Pair]:
    picks = np.linspace(0, len(pairs) - 1, min(ROWS, len(pairs))).round().astype(int)
    return [pairs[i] for i in picks]


def _image(cell: LazyImage | Missing, size: int) -> NDArray[np.uint8]:
    if not isinstance(cell, Missing):
        try:
            return cell.load()
        except AvatarbenchError as error:
            cell = Missing(str(error))
    blank = Image.new("RGB", (size, size), (235, 235, 235))
    ImageDraw.Draw(blank).multiline_text((6, 6), _wrap(cell.reason, size // 7), fill=(160, 0, 0))
    return np.asarray(blank)


def _wrap(text: str, width: int) -> str:
    return "\n".join(text[i : i + width] for i in range(0, len(text), width))
