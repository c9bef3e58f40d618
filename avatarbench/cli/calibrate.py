"""``avatarbench calibrate``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from avatarbench.calibration.record import CalibrationRecord


def calibrate(
    identities: Annotated[int, typer.Option(min=1, help="People of OpenHeads' test stream; as many strangers.")] = 6,
    size: Annotated[int, typer.Option(min=32, help="Side of the square frames, pixels.")] = 256,
    samples: Annotated[int, typer.Option(min=4, help="Rendering samples a pixel: more lower the noise floor.")] = 32,
    metric: Annotated[list[str] | None, typer.Option(help="Metric id; default: all. May be repeated.")] = None,
    change: Annotated[
        list[str] | None, typer.Option(help="yaw, pitch, roll, jaw, smile, blink, blur, jpeg, shift; default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the people.")] = 0,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="List metrics without weights as such instead of stopping.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Frames that pass through a network together.")] = 8,
    out: Annotated[Path, typer.Option(help="Where the result and the rendered frames are kept.")] = Path("calibration"),
) -> None:
    """Render changes of known size and report what each metric says of them.

    A head turned by 1 to 10 degrees, a jaw, a smile and a blink by steps, blur, JPEG, a shift, another person, and the
    same scene under another sampling seed: the noise floor, the slope, where it saturates, the least change seen.
    Stopped, the same command goes on with the frames that are there.

    \b
    avatarbench calibrate --skip-missing
    avatarbench calibrate --metric psnr --change blur --identities 2 --size 128
    avatarbench calibrate --identities 24 --samples 64 --device cuda --out calibration-24
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    from avatarbench.calibration.pipeline import Request
    from avatarbench.calibration.pipeline import calibrate as work

    request = Request(
        metrics=tuple(metric or ()),
        changes=tuple(change or ()),
        identities=identities,
        size=size,
        samples=samples,
        seed=seed,
        skip_missing=skip_missing,
        device=device,
        batch=batch,
    )
    try:
        record = work(request, out)
    except KeyboardInterrupt:
        typer.echo("\ninterrupted. Run the same command again: the frames that are rendered are kept.", err=True)
        raise typer.Exit(130) from None
    report(record)
    typer.echo(f"{out} (calibration.md, calibration.json, calibration.csv, plots/)", err=True)


def report(record: CalibrationRecord) -> None:
    """Print the slopes as one table, with the metrics that could not run."""
    from avatarbench.calibration.report import overview
    from avatarbench.cli.output import plain_table, stdout_console

    header, *rows = overview(record)
    table = plain_table(*header)
    for row in rows:
        table.add_row(*row)
    console = stdout_console()
    console.print("Slope for a unit of each change; the floor is the same scene under another sampling seed.")
    console.print(table)
    for metric in record.metrics:
        if metric.unavailable is not None:
            console.print(f"{metric.id}: not measured ({metric.unavailable})")
