"""``avatarbench score``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from avatarbench.errors import UsageError


def score(
    predictions: Annotated[Path, typer.Argument(help="Your frames: a folder of images, or a video.")],
    references: Annotated[Path, typer.Argument(help="The real frames, under the same names, or a video as long.")],
    source: Annotated[Path | None, typer.Option(help="The portrait, for identity metrics.")] = None,
    task: Annotated[str, typer.Option(help="self: references are the truth; cross: they are the drivers.")] = "self",
    metric: Annotated[list[str] | None, typer.Option(help="Metric id; default: all that can run.")] = None,
    name: Annotated[str, typer.Option(help="What to call the row.")] = "predictions",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Frames that pass through a network together.")] = 8,
    out: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
) -> None:
    """Score frames you already have: two folders or two videos.

    \b
    avatarbench score pred/ real/
    avatarbench score pred.mp4 real.mp4 --metric lpips-vgg --metric akd-mediapipe
    avatarbench score pred/ drivers/ --task cross --source portrait.png --name mine
    """
    if task not in ("self", "cross"):
        raise UsageError(f"--task is 'self' or 'cross', not '{task}'.")
    from avatarbench.cli.run import report
    from avatarbench.run.folders import Request, read_frames, score_frames

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        portrait = read_frames(source) if source else None
        if portrait is not None and len(portrait.images) != 1:
            raise UsageError(f"--source is one portrait, and {source} holds {len(portrait.images)} frames.")
        request = Request(
            predictions=read_frames(predictions),
            references=read_frames(references),
            source=portrait,
            task="self" if task == "self" else "cross",
            name=name,
            metrics=tuple(metric or ()),
        )
        done = score_frames(request, out, ["avatarbench", *sys.argv[1:]], device, batch)
    except KeyboardInterrupt:
        typer.echo("\ninterrupted. Run the same command again: what the networks computed is cached.", err=True)
        raise typer.Exit(130) from None
    report([done], speed=False)
