"""``avatarbench data``: generating OpenHeads; the sets that a user brings are in :mod:`data_copies`."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from avatarbench.cli import data_copies

app = typer.Typer(
    help="Data sets that are made here, and those that you bring.", no_args_is_help=True, rich_markup_mode="rich"
)
app.command("check")(data_copies.check)
app.command("prepare")(data_copies.prepare)
app.command("stand-in")(data_copies.stand_in)

Workers = Annotated[int, typer.Option(help="Processes that render, one thread each: give the number of cores.", min=1)]


@app.command("openheads")
def openheads(
    out: Annotated[Path, typer.Option(help="The folder; one that was begun with the same seed is continued.")],
    identities: Annotated[int, typer.Option(help="How many people. More of them can be added later.", min=1)],
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.", min=0)] = 0,
    size: Annotated[int, typer.Option(help="Side of the square pictures, pixels.")] = 256,
    samples: Annotated[
        int, typer.Option(help="Light paths a pixel, a multiple of 4: 16 is grainy, 128 is clean.")
    ] = 32,
    sequences: Annotated[
        str, typer.Option(help="Names with commas between them, or 'all'. More can be added later.")
    ] = "FREE",
    cameras: Annotated[
        str, typer.Option(help="1 to 16 of the rig, the frontal one first, or serials with commas between them.")
    ] = "16",
    frames: Annotated[int, typer.Option(help="Frames of each sequence.", min=1)] = 50,
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 25.0,
    workers: Workers = 2,
    tracking: Annotated[
        bool, typer.Option("--tracking/--no-tracking", help="Read every video with MediaPipe's face landmarker.")
    ] = True,
) -> None:
    """Generate a training split of OpenHeads, in NeRSemble's layout.

    \b
    avatarbench data openheads --out openheads --identities 20 --cameras 4 --frames 25
    avatarbench data openheads --out openheads --identities 20 --cameras 4 --frames 25 --sequences FREE,EXP-5-mouth
    avatarbench data openheads --out big --identities 2 --seed 1 --size 512 --samples 64 --frames 50 --workers 8

    Interrupt it when you like: the same command goes on where it stopped. The test split's people are never drawn.
    """
    from avatarbench import assets
    from avatarbench.openheads.generate import Request, generate

    request = Request(
        out=out,
        identities=identities,
        seed=seed,
        size=size,
        samples=samples,
        sequences=_sequences(sequences),
        cameras=_cameras(cameras),
        frames=frames,
        fps=fps,
        tracking=tracking,
    )
    request.check()
    if tracking:
        assets.pull("face-landmarker")
    with _bar("rendering") as progress:
        rendered = generate(request, workers, progress)
    counts = f"{identities} x {len(request.sequences)} x {len(request.cameras)} x {frames}"
    typer.echo(
        f"{out}: {request.pictures} frames ({counts}: people, sequences, cameras, frames of each), "
        f"{rendered} of them rendered now."
    )


@app.command("openheads-test")
def openheads_test(
    out: Annotated[Path, typer.Option(help="The folder; one that was begun is continued.")],
    workers: Workers = 2,
    views: Annotated[
        bool, typer.Option("--views", help="Instead, 8 moments of each person from 10 cameras, to fit a cloud on.")
    ] = False,
) -> None:
    """Render the test split anew, as the package carries it: 9 people, 256 x 256, lossless.

    \b
    avatarbench data openheads-test --out openheads-test
    avatarbench data openheads-test --views --out openheads-views

    Interrupt it when you like: the same command goes on where it stopped.
    """
    from avatarbench.openheads.split import SplitPlan, make_split
    from avatarbench.openheads.views import ViewsPlan

    with _bar("rendering") as progress:
        size = make_split(out, workers, progress, ViewsPlan() if views else SplitPlan())
    typer.echo(f"{out}: {size / 1e6:.1f} MB in all.")


def _sequences(text: str) -> tuple[str, ...]:
    from avatarbench.openheads.sequences import NAMES

    return NAMES if text == "all" else tuple(dict.fromkeys(_listed(text)))


def _cameras(text: str) -> tuple[str, ...]:
    from avatarbench.openheads.cameras import SERIALS, spread

    if text.isdecimal() and text not in SERIALS:
        return spread(int(text))
    return tuple(dict.fromkeys(_listed(text)))


def _listed(text: str) -> list[str]:
    return [part for part in (piece.strip() for piece in text.split(",")) if part]


@contextmanager
def _bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with frames a minute and ETA. Ctrl-C and SIGTERM leave with 130 and say that work is kept."""
    from rich.progress import Progress, ProgressColumn, Task
    from rich.text import Text

    from avatarbench.run.progress import console, progress_bar

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed * 60:.0f} frames/min")

    signal.signal(signal.SIGTERM, _interrupt)
    columns = (*progress_bar().columns, Rate())
    try:
        # Long enough that the estimate does not jump with every camera of a moment.
        with Progress(*columns, console=console, speed_estimate_period=120) as bar:
            task = bar.add_task(description, total=None)

            def progress(done: int, total: int) -> None:
                if bar.tasks[task].total is None:
                    bar.update(task, total=total, completed=done)
                else:
                    bar.advance(task, done - bar.tasks[task].completed)

            yield progress
    except KeyboardInterrupt:
        console.print("stopped; what is finished is kept, and the same command goes on from here.")
        raise typer.Exit(130) from None


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
