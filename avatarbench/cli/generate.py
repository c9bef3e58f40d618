"""``avatarbench generate``: a portrait to a point cloud bound to a rig."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avatarbench.errors import DataError, UsageError
from avatarbench.generator import SEEDS, Precision

if TYPE_CHECKING:
    from avatarbench.generator import Made

ENDING = ".ply"


def generate(
    portraits: Annotated[list[Path], typer.Argument(metavar="PORTRAIT...", help="Pictures of one face each.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The .ply to write, or a folder for PORTRAIT's name with .ply: needed for several. Default: here."
        ),
    ] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="The method that generates.")] = "pointillist",
    checkpoint: Annotated[Path | None, typer.Option(help="Its weights. Default: those that ship.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same cloud.", min=0, max=SEEDS - 1)] = 0,
    temperature: Annotated[
        float | None, typer.Option(help="0: always the likeliest token. Default: the checkpoint's.", min=0)
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Of so many tokens, the likeliest; 0: of all.", min=0)] = None,
    top_p: Annotated[float | None, typer.Option(help="Of the fewest that hold this probability.", max=1)] = None,
    points: Annotated[int | None, typer.Option(help="Never more points than these.", min=1)] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="1: none; above: more as the portrait asks. Default: the checkpoint's.", min=0),
    ] = None,
    spacing: Annotated[
        float | None, typer.Option(help="Levels of the grid that points keep apart. Default: the checkpoint's.", min=0)
    ] = None,
    consensus: Annotated[
        int | None,
        typer.Option(help="Draws, of which the cloud is what they agree on. Default: the checkpoint's.", min=1),
    ] = None,
    states: Annotated[
        bool, typer.Option("--states", help="Also write tokens, points and hidden states, .npz.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Of the engine, whatever training had: bf16 is faster, and for CUDA alone.")
    ] = "fp32",
) -> None:
    """Generate a point cloud, bound to the faces of a head rig, from a portrait.

    \b
    avatarbench generate portrait.png --out cloud.ply
    avatarbench generate portrait.png --out cloud.ply --checkpoint runs/ar/ar.safetensors --seed 1 --states
    avatarbench generate people/*.jpg --out clouds

    The .ply holds a small opaque Gaussian for every point, coloured by the face it is bound to: a picture of the
    points, not yet an avatar. 'avatarbench view cloud.ply' and other splat viewers show it.
    Exit codes: 0 all generated, 3 some, 1 none or failure, 2 usage, 130 interrupted.
    """
    from avatarbench import registry
    from avatarbench.datasets.images import require_one
    from avatarbench.generator import Request, probe

    if out is None and len(portraits) > 1:
        raise UsageError(f"there are {len(portraits)} portraits: name a folder for their clouds with --out.")
    outs = _outs(portraits, out or Path())
    spec = registry.trainer(method)
    if spec.generate is None:
        raise UsageError(f"'{method}' generates no clouds from portraits.")
    if top_p is not None and top_p <= 0:
        raise UsageError(f"--top-p {top_p}: give more than 0, and at most 1.")
    require_one(portraits)
    for folder in dict.fromkeys(path.parent for path in outs):
        probe(folder, "--out")
    run = registry.load(spec.generate)
    request = Request(
        tuple(portraits),
        outs,
        checkpoint,
        seed,
        temperature,
        top_k,
        top_p,
        points,
        guidance,
        spacing,
        consensus,
        states=states,
        device=device,
        precision=precision,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    before = {path: _stamp(path) for path in outs}
    try:
        with _Bar() as bar:
            made = run(request, bar)
    except KeyboardInterrupt:
        written = ", ".join(str(path) for path in outs if _stamp(path) != before[path])
        typer.echo(f"\ninterrupted; {f'{written}: whole' if written else 'no cloud was written'}.", err=True)
        raise typer.Exit(130) from None
    _report(made)


def _outs(portraits: Sequence[Path], out: Path) -> tuple[Path, ...]:
    """A PLY for each portrait. Raises UsageError where two would be one, or one file is named for several."""
    if out.suffix.lower() == ENDING and not out.is_dir():
        if len(portraits) > 1:
            raise UsageError(f"--out {out} is one file, and there are {len(portraits)} portraits: name a folder.")
        return (out,)
    if out.is_file():
        raise UsageError(f"--out {out} is a file: name a {ENDING} to write, or a folder.")
    found: dict[Path, Path] = {}
    for portrait in portraits:
        path = out / f"{portrait.stem}{ENDING}"
        if path in found:
            raise UsageError(f"{found[path]} and {portrait} would both be {path}: generate them into two folders.")
        found[path] = portrait
    return tuple(found)


def _stamp(path: Path) -> tuple[int, int] | None:
    """Tells a file from the one that took its place."""
    if not path.is_file():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _report(made: Sequence[Made]) -> None:
    from avatarbench.run.progress import console

    failed = [one for one in made if one.failure is not None]
    if len(failed) == len(made):
        raise DataError("\n".join(_failure(one) for one in failed))
    for one in made:
        if one.failure is not None:
            typer.echo(_failure(one), err=True)
            continue
        end = "" if one.ended else ", cut short at the bound: --points allows more"
        typer.echo(f"{one.files[0]}: {one.points} points in {one.seconds:.1f} s{end}.")
        for note in one.notes:
            typer.echo(f"{one.portrait}: {note}", err=True)
        for file in one.files[1:]:
            console.print(f"wrote {file}", highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(3)


def _failure(one: Made) -> str:
    failure = one.failure or ""
    return failure if str(one.portrait) in failure else f"{one.portrait}: {failure}"


class _Bar:
    """A line a stage, with what its pace is."""

    def __init__(self) -> None:
        from rich.progress import Progress, TaskID, TextColumn

        from avatarbench.run.progress import console, progress_bar

        self._bar = Progress(*progress_bar().columns[:4], TextColumn("{task.fields[words]}"), console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, stage: str, done: int, total: int, words: str) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total, words=words)
        self._bar.update(self._tasks[stage], completed=done, total=total, words=words)
