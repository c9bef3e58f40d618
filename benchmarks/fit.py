"""What the fit's preset reaches on people, with and without the density constraint; no speed is compared here.

    avatarbench data openheads-test --views --out openheads-views
    python benchmarks/fit.py openheads-views [--subjects 501,502,503,504] [--out fits] [--picture fits.jpg] [key=value]

Each person is fitted twice from the same views (:mod:`avatarbench.openheads.views`), and judged on cameras and
expressions that neither fit saw. Finished fits in ``--out`` are read, not repeated. Minutes are of the steps alone, on
this machine as it is.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from avatarbench.fitting.config import load_preset
from avatarbench.fitting.fit import Fit
from avatarbench.fitting.held_out import pixels
from avatarbench.fitting.run import RECORD, fit_person
from avatarbench.openheads.views import HELD_CAMERAS, HELD_MOMENTS
from avatarbench.run.progress import console, progress_bar

ROWS = {"with": "density.enabled=true", "without": "density.enabled=false"}
KINDS = {"camera": "held-out camera", "sequence": "held-out expression", "camera and sequence": "both held out"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of avatarbench data openheads-test --views")
    parser.add_argument("overrides", nargs="*", help="changes of the preset, key=value")
    parser.add_argument("--subjects", default="501,502,503,504")
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--out", type=Path, default=Path("fits"))
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()

    found: dict[tuple[str, str], tuple[Fit, dict[str, Any]]] = {}
    for subject in args.subjects.split(","):
        for row, change in ROWS.items():
            found[subject, row] = fitted(args, subject, row, change)
    console.print()
    report(found)
    if args.picture:
        picture(found, args.picture)


def fitted(args: argparse.Namespace, subject: str, row: str, change: str) -> tuple[Fit, dict[str, Any]]:
    config = load_preset(args.preset, [*args.overrides, change])
    out = args.out / f"{subject}-{row}"
    with progress_bar() as bar:
        task = bar.add_task(f"{subject} {row}", total=config.steps)
        fit = fit_person(
            args.data,
            subject,
            out,
            config,
            lambda progress: bar.update(task, completed=progress.step),
            HELD_CAMERAS,
            list(HELD_MOMENTS),
            video=False,
        )
        bar.update(task, completed=config.steps)
    return fit, json.loads((out / RECORD).read_text(encoding="utf-8"))


def report(found: dict[tuple[str, str], tuple[Fit, dict[str, Any]]]) -> None:
    table = Table(title="PSNR (dB) and LPIPS-alex of views that the fit did not see")
    for column in ("person", "constraint", "points", "minutes", *KINDS.values(), "faces with 0, 1, 2, ... points"):
        table.add_column(column)
    for (subject, row), (_, record) in found.items():
        means = record["held_out"]["means"]
        scores = [f"{means[kind]['psnr']:.2f}  {means[kind]['lpips-alex']:.4f}" for kind in KINDS]
        histogram = " ".join(map(str, record["faces_with_n_points"]))
        minutes = f"{record['seconds'] / 60:.2f}"
        table.add_row(subject, row, str(record["points"]), minutes, *scores, histogram)
    output = Console(width=180)
    output.print(table)
    for row in ROWS:
        records = [record for (_, own), (_, record) in found.items() if own == row]
        means = [
            f"{name} {np.mean([r['held_out']['means'][kind]['psnr'] for r in records]):.2f} dB "
            f"{np.mean([r['held_out']['means'][kind]['lpips-alex'] for r in records]):.4f}"
            for kind, name in KINDS.items()
        ]
        minutes = np.mean([r["seconds"] for r in records]) / 60
        output.print(f"{row} the constraint: {'; '.join(means)}; {minutes:.2f} minutes a person")


def picture(found: dict[tuple[str, str], tuple[Fit, dict[str, Any]]], path: Path) -> None:
    """A column a person: the truth, the fit with the constraint, and without, in a pose and from a camera held out."""
    columns = []
    for subject in dict.fromkeys(subject for subject, _ in found):
        fits = [found[subject, row][0] for row in ROWS]
        views = fits[0].subject.views  # type: ignore[attr-defined]  # what fit_person opens has them
        chosen = next(n for n, v in enumerate(views) if v.camera in HELD_CAMERAS and v.take in HELD_MOMENTS)
        shown = [fits[0].subject.image(chosen), *(fit.picture(chosen) for fit in fits)]
        columns.append(np.concatenate([pixels(image.numpy()) for image in shown]))
    sheet = Image.fromarray(np.concatenate(columns, axis=1))
    draw = ImageDraw.Draw(sheet)
    for row, title in enumerate(("true", *(f"{row} the constraint" for row in ROWS))):
        draw.text((4, 4 + row * sheet.height // 3), title, fill=(0, 0, 0))
    sheet.save(path, quality=90)
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()
