"""``avatarbench animate``: an avatar file under a driver, as a video."""

from __future__ import annotations

import re
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avatarbench.errors import UsageError

ENDINGS = (".mp4", ".m4v", ".mov", ".png")


class View(StrEnum):
    """Where the avatar is seen from."""

    front, driver = "front", "driver"


def animate(
    avatar: Annotated[Path, typer.Argument(help="An .avatar file, as build, fit and run write it.")],
    driver: Annotated[
        Path,
        typer.Option(
            help="A video, a picture, a folder of frames; an ARKit CSV; track.npz, anny.npz, truth.npz; FLAME's "
            "parameters (.npz, VHAP export)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The .mp4 to write; .png for one frame.")],
    size: Annotated[int, typer.Option(help="Height of the picture, pixels.", min=16, max=4096)] = 512,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second. Default: the driver's; 60 for a CSV, 25 where none is known.")
    ] = None,
    background: Annotated[str, typer.Option(help="white, black or #rrggbb.")] = "white",
    camera: Annotated[
        View, typer.Option(help="front: the head stays in the middle; driver: as the driver's camera sees it.")
    ] = View.front,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="The driver's picture stands to the left.")
    ] = False,
    limit: Annotated[int | None, typer.Option(help="Only the first frames of the driver.", min=1)] = None,
) -> None:
    """Drive an avatar by somebody's face, by ARKit coefficients, or by its rig's own parameters.

    \b
    avatarbench animate me.avatar --driver talk.mp4 --out me-talking.mp4
    avatarbench animate me.avatar --driver take.csv --out take.mp4 --size 1024 --background '#303030'
    avatarbench animate me.avatar --driver talk.mp4 --out both.mp4 --side-by-side --camera driver

    Exit codes: 0 a face in every frame, 3 in some (the others hold the pose before), 1 in none or failure, 2 usage,
    130 interrupted.
    """
    if out.suffix.lower() not in ENDINGS:
        raise UsageError(f"--out {out}: a video is written as .mp4, a single frame also as .png.")
    if fps is not None and not 0 < fps <= 1000:
        raise UsageError(f"--fps {fps}: give more than 0, and at most 1000.")
    for option, given in (("--driver", driver), ("AVATAR", avatar)):
        if out.resolve() == given.resolve() or (given.is_dir() and given.resolve() in out.resolve().parents):
            raise UsageError(f"--out {out} is, or lies in, {option} {given}, which is read: name another file.")
    colour = colour_of(background)
    from avatarbench.animation.film import Look, film
    from avatarbench.animation.opening import open_driver
    from avatarbench.gaussians.head import load_head
    from avatarbench.generator import probe
    from avatarbench.run.progress import console, progress_bar

    probe(out.parent, "--out")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    head = load_head(avatar)
    opened = open_driver(driver, head)
    look = Look(size, camera.value, colour, side_by_side)
    try:
        with progress_bar() as bar:
            total = opened.count if limit is None else min(limit, opened.count)
            task = bar.add_task("animate", total=total)
            done = film(head, opened, out, look, fps, limit, lambda n: bar.update(task, completed=n))
            bar.update(task, completed=done.frames)
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; {out} was not written.", err=True)
        raise typer.Exit(130) from None
    after = done.seconds[1:]  # the first one compiles, and works out what the others go by
    rate = f", posed and rendered at {len(after) / sum(after):.1f} a second" if after else ""
    typer.echo(f"{out}: {done.frames} frame{'s' * (done.frames != 1)}{rate}.")
    for note in opened.notes:
        console.print(f"{driver}: {note}", highlight=False, soft_wrap=True)
    if done.held:
        typer.echo(
            f"{done.held} of {done.frames} frames show no face ({done.reason}): they hold the pose before.", err=True
        )
        raise typer.Exit(3)


def colour_of(text: str) -> tuple[float, float, float]:
    """RGB in [0, 1] of white, black or #rrggbb. Raises UsageError."""
    value = {"white": "#ffffff", "black": "#000000"}.get(text.lower(), text)
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise UsageError(f"--background {text}: give white, black or #rrggbb, e.g. '#303030' in quotes.")
    red, green, blue = (int(value[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return red, green, blue
