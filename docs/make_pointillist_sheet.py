"""Source, cloud, render, target of people: ``python docs/make_pointillist_sheet.py RUN... --out FILE.jpg``.

Of every run four rows: of four people the middle frame of each, or, where the run has fewer, frames spread over what it
has. The cloud is that of the avatar which the run kept, from the front and from the subject's left, coloured by face.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from avatarbench.datasets.images import read_image
from avatarbench.gaussians.head import load_head
from avatarbench.methods.pointillist.checkpoint import load_checkpoint, shipped
from avatarbench.methods.pointillist.pictures import face_colours, frame_of, views
from avatarbench.methods.pointillist.tokenizer import Points
from avatarbench.metrics.cache import FeatureCache
from avatarbench.metrics.engine import FeatureEngine
from avatarbench.protocol import Pair
from avatarbench.run.inputs import Inputs
from avatarbench.run.journal import Journal
from avatarbench.run.prepare import Prepared, reopen
from avatarbench.run.render import avatar_path, prediction_path

ROWS, TILE, TITLE = 4, 200, 20
Picture = NDArray[np.uint8]


def picked(pairs: Sequence[Pair]) -> list[Pair]:
    """Four pairs: the middle one of each of four sources, or spread evenly over one source's."""
    groups: dict[object, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.source, []).append(pair)
    if len(groups) >= ROWS:
        chosen = [list(groups.values())[i] for i in np.linspace(0, len(groups) - 1, ROWS).round().astype(int)]
        return [group[len(group) // 2] for group in chosen]
    return [pairs[i] for i in np.linspace(0, len(pairs) - 1, min(ROWS, len(pairs))).round().astype(int)]


def cloud_pictures(path: Path) -> list[Picture]:
    head = load_head(path)
    if head.cloud.bindings is None:
        raise SystemExit(f"{path}: the cloud of this avatar is bound to nothing.")
    points, up = Points(head.cloud.means, head.cloud.bindings), load_checkpoint(shipped()).tokenizer.up
    colours = face_colours(head.vertices(*head.neutral()), head.faces)
    return views(points, colours, frame_of([points.positions], up), up, TILE)


def rows(folder: Path, prepared: Prepared, inputs: Inputs, method: str) -> Iterator[list[tuple[str, Picture]]]:
    for pair in picked(prepared.manifest.pairs):
        front, left = cloud_pictures(avatar_path(folder, method, pair.source))
        against = ("target", pair.target) if pair.target else ("driver", pair.driver)
        found = prediction_path(folder, method, pair.id)
        made = read_image(found)[0] if found.is_file() else np.full((TILE, TILE, 3), 200, np.uint8)
        yield [
            (f"source {pair.source.sequence.split('_')[0]}", inputs.image(pair.source)),
            ("cloud", front),
            ("from the left", left),
            ("render" if found.is_file() else "no render: see the run", made),
            (against[0], inputs.image(against[1])),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--method", default="pointillist")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    blocks: list[tuple[str, list[list[tuple[str, Picture]]]]] = []
    for folder in given.runs:
        prepared, record = reopen(folder)
        with ExitStack() as stack:
            journal = stack.enter_context(Journal(folder / "journal.jsonl"))
            engine = FeatureEngine(["face"], FeatureCache.default(), "cpu")
            stack.callback(engine.close)
            inputs = Inputs(prepared.found.datasets, prepared.manifest.image, engine, journal)
            blocks.append((record.protocol.id, list(rows(folder, prepared, inputs, given.method))))
    draw_sheet(blocks, given.out)


def draw_sheet(blocks: Sequence[tuple[str, list[list[tuple[str, Picture]]]]], path: Path) -> None:
    lines = sum(len(found) for _, found in blocks)
    sheet = Image.new("RGB", (5 * TILE, lines * (TILE + TITLE) + len(blocks) * TITLE), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    top = 0
    for name, found in blocks:
        pen.text((4, top + 2), name, "black", ImageFont.load_default(15))
        top += TITLE
        for cells in found:
            for column, (title, picture) in enumerate(cells):
                pen.text((column * TILE + 4, top + 2), title, "black", font)
                tile = Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.LANCZOS)
                sheet.paste(tile, (column * TILE, top + TITLE))
            top += TILE + TITLE
    sheet.save(path, quality=88)


if __name__ == "__main__":
    main()
