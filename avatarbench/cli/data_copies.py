"""``avatarbench data check``, ``prepare`` and ``stand-in``: the licensed data sets, which a user brings."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from avatarbench.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from avatarbench.datasets.check import Report
    from avatarbench.datasets.imported_tracking import Source

Name = Annotated[str, typer.Argument(help="nersemble, vfhq or hdtf.", metavar="NAME")]
Root = Annotated[Path, typer.Option(help="The folder of your copy.")]


class Tracker(StrEnum):
    vhap = "vhap"
    pixel3dmm = "pixel3dmm"
    dataset = "dataset"


class Layout(StrEnum):
    v2 = "v2"
    v1 = "v1"


def check(
    name: Name,
    root: Root,
    out: Annotated[Path | None, typer.Option(help="The manifest; by default ROOT/avatarbench-manifest.json.")] = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every frame: finds damage inside too, and takes far longer.")
    ] = False,
) -> None:
    """Say what of a data set is present, missing or broken, a row a subject, and hash it.

    \b
    avatarbench data check vfhq --root VFHQ-Test
    avatarbench data check nersemble --root /mnt/nersemble --out nersemble.json

    Interrupt it when you like: what is hashed is kept. Files whose size and time are unchanged are not read again.
    Exit codes: 0 all is well, 1 something is missing or broken, 2 usage, 130 interrupted.
    """
    from rich.progress import DownloadColumn, Progress

    from avatarbench.cli.output import stdout_console
    from avatarbench.datasets.check import check as look
    from avatarbench.datasets.ledger import NAME
    from avatarbench.run.progress import console, progress_bar

    path = (out or root / NAME).expanduser()
    columns = progress_bar().columns
    with _stoppable(), Progress(*columns[:2], DownloadColumn(), *columns[3:], console=console) as bar:
        task = bar.add_task("hashing", total=None)
        found = look(
            name, root.expanduser(), path, decode, lambda done, total: bar.update(task, completed=done, total=total)
        )
    stdout_console().print(_table(found))
    for text in found.missing:
        typer.echo(f"missing: {text}")
    if found.mark:
        typer.echo(f"data: {found.mark} (generated stand-in data, as {root} says)")
    well = sum(subject.well for subject in found.subjects)
    typer.echo(f"{well} of {len(found.subjects)} are well; {len(found.ledger.entries)} files hashed: {path}")
    typer.echo(f"contents: {found.ledger.contents}")
    if not found.well:
        raise typer.Exit(1)


def _table(found: Report) -> Table:
    from avatarbench.cli.output import plain_table

    table = plain_table("subject", "present", "missing", "broken", "notes")
    for subject in found.subjects:
        table.add_row(
            subject.name,
            subject.present,
            *("; ".join(parts) for parts in (subject.missing, subject.broken, subject.notes)),
            style=None if subject.well else "red",
        )
    return table


def prepare(
    name: Name,
    root: Root,
    out: Annotated[Path, typer.Option(help="The folder to fill; one that was begun is continued.")],
    mattes: Annotated[
        Path | None, typer.Option(help="Your foreground pictures: DIR/NAME.mp4 or DIR/NAME/00000000.png.")
    ] = None,
    tracker: Annotated[
        Tracker | None, typer.Option(help="Take FLAME tracking over too; 'dataset' for the NeRSemble benchmark's own.")
    ] = None,
    tracking: Annotated[Path | None, typer.Option(help="The folder of that tracking, a folder a sequence.")] = None,
    workers: Annotated[int, typer.Option(help="Processes: give the number of cores.", min=1)] = 2,
) -> None:
    """Resolve the protocols of a data set, and cache crops, masks, cameras and tracking of what they draw.

    \b
    avatarbench data prepare vfhq --root VFHQ-Test --out vfhq-cache --mattes vfhq-mattes
    avatarbench data prepare nersemble --root nersemble --out nersemble-cache --workers 8
    avatarbench run -m source-copy -p vfhq-self --data-root vfhq-cache

    Interrupt it when you like: the same command goes on where it stopped, and ends with the same files.
    Exit codes: 0 complete, 3 some sequences could not be prepared, 1 failure, 2 usage, 130 interrupted.
    """
    from avatarbench import assets
    from avatarbench.datasets.prepare import prepare as fill
    from avatarbench.datasets.prepare_sequence import Origin
    from avatarbench.run.progress import progress_bar

    if (tracking is None) != (tracker is None or tracker is Tracker.dataset):
        raise UsageError("--tracker vhap and pixel3dmm take a folder with --tracking, and nothing else does.")
    assets.pull("face-landmarker")
    kinds: dict[Tracker, Source] = {Tracker.vhap: "vhap", Tracker.pixel3dmm: "pixel3dmm", Tracker.dataset: "dataset"}
    folders = [None if folder is None else folder.expanduser() for folder in (mattes, tracking)]
    origin = Origin(name, root.expanduser(), folders[0], kinds[tracker] if tracker else None, folders[1])
    with _stoppable(), progress_bar() as bar:
        tasks = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total or None)
            bar.update(tasks[stage], completed=done)

        found = fill(origin, out.expanduser(), workers, advance)
    for protocol, path in found.manifests.items():
        typer.echo(f"{protocol}: {path}")
    for protocol, why in found.unresolved.items():
        typer.echo(f"{protocol}: not resolved: {why}")
    for note in (*found.notes, *(f"{o.sequence}: {note}" for o in found.outcomes for note in o.notes)):
        typer.echo(f"note: {note}")
    for outcome in found.failures:
        typer.echo(f"failed: {outcome.sequence}: {outcome.failure}")
    made = sum(o.made and o.failure is None for o in found.outcomes)
    frames = sum(o.frames for o in found.outcomes if o.failure is None)
    typer.echo(f"{out}: {len(found.outcomes)} sequences, {frames} frames; {made} sequences prepared now.")
    if found.failures:
        raise typer.Exit(3)


def stand_in(
    name: Name,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    people: Annotated[int | None, typer.Option(help="How many of the test split's nine.", min=1)] = None,
    frames: Annotated[int | None, typer.Option(help="At most so many frames a clip (vfhq, hdtf).", min=1)] = None,
    size: Annotated[int | None, typer.Option(help="Side of the pictures, pixels (vfhq, hdtf).", min=16)] = None,
    mattes: Annotated[
        bool, typer.Option("--mattes", help="Foreground pictures too, in the folder 'mattes' beside OUT (vfhq, hdtf).")
    ] = False,
    layout: Annotated[Layout, typer.Option(help="Of NeRSemble's folder.")] = Layout.v2,
) -> None:
    """Write generated heads in the layout of a licensed set, to try every command on.

    \b
    avatarbench data stand-in vfhq --out try/vfhq --people 2 --frames 4
    avatarbench data check vfhq --root try/vfhq
    avatarbench run -m source-copy -p vfhq-self --data-root try/vfhq

    The pictures are OpenHeads' test split. The folder is marked: runs on it say 'data: openheads'.
    """
    from avatarbench.datasets import layouts
    from avatarbench.openheads.split import NUMBERS

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is there already and not an empty folder: name another.")
    chosen = tuple(f"{number:03d}" for number in NUMBERS[:people])
    if name == "nersemble":
        if frames or size or mattes:
            raise UsageError("--frames, --size and --mattes are for vfhq and hdtf: NeRSemble's people come whole.")
        made = layouts.write_nersemble(out, chosen, layout.value)
    elif name in ("vfhq", "hdtf"):
        write = layouts.write_vfhq if name == "vfhq" else layouts.write_hdtf
        made = write(out, chosen, frames, size, mattes)
    else:
        raise UsageError(f"'{name}' has no stand-in: nersemble, vfhq or hdtf.")
    typer.echo(f"{out}: {len(made)} of OpenHeads' people in {name}'s layout.")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM leave with 130 and say that work is kept."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("\nstopped; what is finished is kept, and the same command goes on from here.", err=True)
        raise typer.Exit(130) from None


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
