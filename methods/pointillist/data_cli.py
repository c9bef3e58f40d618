"""``avatarbench train pointillist data``: people to clouds, portraits and tracking."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarbench.errors import UsageError

if TYPE_CHECKING:
    from avatarbench.methods.pointillist.build_request import Request
    from avatarbench.methods.pointillist.build_set import Row
    from avatarbench.openheads.views import TrainingPlan

PARTIAL = 3
"""Exit code where somebody was left out."""


def data(
    data: Annotated[
        Path, typer.Option(help="A folder in NeRSemble's layout: OpenHeads', or NeRSemble's with --tracking.")
    ],
    out: Annotated[Path, typer.Option(help="The training set; one that was begun is continued.")],
    people: Annotated[
        str,
        typer.Option(help="Names with commas between them, or @FILE with a name a line. Default: everybody in DATA."),
    ] = "",
    exclude: Annotated[str, typer.Option(help="Who is left out, as in --people: those who are to be held out.")] = "",
    preset: Annotated[str, typer.Option(help="mini or paper.")] = "mini",
    workers: Annotated[int, typer.Option(help="People at a time, one thread each.", min=1)] = 2,
    portraits: Annotated[
        Path | None, typer.Option(help="Another folder of the same people, to take their sequence PORTRAIT from.")
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="A training set whose cube is used, as for people who are held out of it."),
    ] = None,
    tracking: Annotated[
        Path | None, typer.Option(help="A folder of VHAP exports, one a person (306_...): FLAME is the rig then.")
    ] = None,
    portrait_tracking: Annotated[
        Path | None,
        typer.Option(help="With --tracking: Pixel3DMM's tracking of the portraits, in PERSON_SEQUENCE_CAMERA/."),
    ] = None,
    openheads: Annotated[
        int | None, typer.Option(help="Render so many people of OpenHeads into DATA first, or finish them.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="With --openheads: its seed.", min=0)] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Overrides of configs/pointillist/PRESET.yaml; fit.KEY of the fit's preset; views.KEY of what "
            "--openheads renders (size, samples, moments, cameras).",
        ),
    ] = None,
) -> None:
    """Fit every training person and store canonical clouds, portraits and the tracking of each.

    \b
    avatarbench train pointillist data --data people --openheads 64 --out set
    avatarbench train pointillist data --data people --people 001,002 --out two fit.steps=300
    avatarbench data openheads-test --views --out views
    avatarbench train pointillist data --data views --tokenizer set --out held-out
    avatarbench train pointillist data --data nersemble --tracking exports --preset paper --exclude @held.txt --out set
    avatarbench train pointillist data --data nersemble --tracking exports --preset paper --people @held.txt \\
      --tokenizer set --out held-out

    Interrupt it when you like: the same command goes on where it stopped.
    """
    from avatarbench.methods.pointillist.build_set import build_set, check
    from avatarbench.run.progress import console

    request = _request(data, out, _names(people, "--people") if people.strip() else None, preset, overrides or [])
    request = _with(request, portraits=portraits, tokenizer=tokenizer, tracking=tracking, monocular=portrait_tracking)
    request = _with(request, exclude=_names(exclude, "--exclude") if exclude.strip() else ())
    if portrait_tracking is not None and tracking is None:
        raise UsageError("--portrait-tracking is for FLAME: give --tracking too.")
    views = [text.removeprefix("views.") for text in overrides or [] if text.startswith("views.")]
    if views and openheads is None:
        raise UsageError("views.KEY says what --openheads N renders: give it too.")
    if openheads is not None and tracking is not None:
        raise UsageError("--openheads renders people who need no --tracking: leave one of them out.")
    plan = None if openheads is None else _plan(openheads, seed, views)
    # Before hours of rendering, not after.
    ready = check(request, () if plan is None else [f"{number:03d}" for number in plan.numbers])
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if plan is not None:
            _render(data, plan, workers)
        with _bar(request) as progress:
            rows = build_set(request, workers, progress, ready)
    except KeyboardInterrupt:
        console.print("stopped; what is finished is kept, and the same command goes on from here.")
        raise typer.Exit(130) from None
    _report(rows, out)
    if any(row.error for row in rows):
        raise typer.Exit(PARTIAL)


def _request(data: Path, out: Path, people: tuple[str, ...] | None, preset: str, overrides: list[str]) -> Request:
    from avatarbench.fitting.config import load_preset as load_fit
    from avatarbench.methods.pointillist.build_request import Request
    from avatarbench.methods.pointillist.presets import load_preset

    for text in overrides:
        if "=" not in text:
            raise UsageError(f"'{text}' is no KEY=VALUE of the preset; an option begins with --.")
    of_fit = [text.removeprefix("fit.") for text in overrides if text.startswith("fit.")]
    config = load_preset(preset, [text for text in overrides if not text.startswith(("fit.", "views."))])
    return Request(data, out, config, load_fit(config.fit, of_fit), people)


def _names(text: str, option: str) -> tuple[str, ...]:
    """Of ``001,002``, or of the lines of the file in ``@FILE``. Raises UsageError where there are none."""
    parts = text.split(",")
    if text.startswith("@"):
        try:
            parts = Path(text[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{option} {text}: the file cannot be read ({error}): name one with a name a line."
            ) from error
    found = tuple(name for name in (part.strip() for part in parts) if name)
    if not found:
        raise UsageError(f"{option} {text} names nobody: give names with commas, or @FILE with a name a line.")
    return found


def _with(request: Request, **changes: Any) -> Request:
    from dataclasses import replace

    return replace(request, **changes)


def _plan(people: int, seed: int, changes: list[str]) -> TrainingPlan:
    from dataclasses import replace

    from avatarbench.openheads.views import TrainingPlan
    from avatarbench.registry import suggest

    known = ["size", "samples", "moments", "cameras"]
    values: dict[str, Any] = {}
    for text in changes:
        name, _, value = text.partition("=")
        if name not in known:
            raise UsageError(f"there is no 'views.{name}'{suggest(name, known)}")
        if not value.isdecimal() or int(value) < 1:
            raise UsageError(f"views.{name} is '{value}': give a number from 1.")
        values[name] = int(value)
    return replace(TrainingPlan(people, seed), **values)


def _render(data: Path, plan: TrainingPlan, workers: int) -> None:
    from avatarbench.openheads.split import make_split
    from avatarbench.run.progress import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("rendering", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        make_split(data, workers, progress, plan)


@contextmanager
def _bar(request: Request) -> Iterator[Any]:
    """Steps of all fits together, with an ETA, and how many people are done."""
    from rich.progress import Progress, TextColumn

    from avatarbench.run.progress import console, progress_bar

    done = TextColumn("{task.fields[people]} people")
    # Long enough that the estimate spans several fits.
    with Progress(*progress_bar().columns, done, console=console, speed_estimate_period=300) as bar:
        task = bar.add_task("fitting", total=None, people=0)

        def progress(steps: int, total: int, people: int) -> None:
            if bar.tasks[task].total is None:
                bar.update(task, total=total)
            bar.update(task, completed=steps, people=people)

        yield progress


def _report(rows: list[Row], out: Path) -> None:
    from avatarbench.cli.output import plain_table, stdout_console

    table = plain_table("person", "points", "faces", "PSNR", "portraits", "seconds", "clamped", "duplicates", "error")
    for row in rows:
        if row.error:
            table.add_row(row.person, *[""] * 7, row.error)
            continue
        seconds = "" if row.seconds is None else f"{row.seconds:.0f}"
        numbers = (row.points, row.faces, f"{row.psnr:.1f}", row.portraits)
        table.add_row(row.person, *map(str, numbers), seconds, str(row.clamped), str(row.duplicates), "")
    stdout_console().print(table)
    for row in rows:
        for note in row.notes:
            typer.echo(f"{row.person}: {note}.")
        for left in row.left:
            typer.echo(f"{row.person}: left out {left}")
    clamped = sum(row.clamped for row in rows)
    if clamped:
        typer.echo(
            f"warning: {clamped} points lie outside the tokenizer's cube and will be moved to its border.", err=True
        )
    kept = [row for row in rows if not row.error]
    points = sorted(row.points for row in kept)
    typer.echo(
        f"{out}: {len(kept)} of {len(rows)} people, {sum(row.portraits for row in kept)} portraits "
        f"({sum(len(row.left) for row in rows)} left out), {points[0]} to {points[-1]} points."
    )


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
