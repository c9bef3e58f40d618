"""``avatarbench track``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from avatarbench.errors import DataError


def track(
    source: Annotated[Path, typer.Argument(help="An image, a video, or a folder of frames.")],
    out: Annotated[Path, typer.Option(help="Folder for track.npz, anny.npz and the overlay.")],
    fit: Annotated[bool, typer.Option(help="Fit Anny's head: identity, camera, pose, expression.")] = True,
    overlay: Annotated[bool, typer.Option(help="Draw landmarks, mesh, axes and error over the input.")] = True,
) -> None:
    """Track a face: 478 landmarks, 52 ARKit coefficients, head pose, and a fit of Anny's head.

    \b
    avatarbench track portrait.png --out tracked/
    avatarbench track driver.mp4 --out tracked/ --no-fit
    avatarbench track frames/ --out tracked/ --no-overlay

    Writes track.npz (a frame without a face is NaN with its reason), anny.npz, and overlay.png or overlay.mp4.
    Exit codes: 0 a face in every frame, 3 in some, 1 in none or failure, 2 usage, 130 interrupted.
    """
    from rich.progress import TaskID

    from avatarbench.run.progress import console, progress_bar
    from avatarbench.tracking.pipeline import track_media

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with progress_bar() as bar:
            tasks: dict[str, TaskID] = {}

            def report(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage, total=total)
                bar.update(tasks[stage], completed=done)

            done = track_media(source, out, fit, overlay, report)
    except KeyboardInterrupt:
        typer.echo("\ninterrupted. Files that were finished are whole; run the same command again.", err=True)
        raise typer.Exit(130) from None
    for line in done.summary():
        typer.echo(line)
    for file in done.files:
        console.print(f"wrote {file}", highlight=False, soft_wrap=True)
    found = int(done.track.found.sum())
    if not found:
        raise DataError(
            f"no face was found in {source} ({len(done.track)} frame{'s' * (len(done.track) != 1)}): the face should "
            "be upright, unobstructed, and a tenth of the picture or more. track.npz holds the reasons."
        )
    raise typer.Exit(0 if found == len(done.track) else 3)
