"""``avatarbench fit``: Gaussians bound to a rig, fitted to one person's multi-view frames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fit(
    data: Annotated[Path, typer.Argument(help="A folder of 'avatarbench data openheads'.")],
    subject: Annotated[str, typer.Option(help="The person, e.g. 001.")],
    out: Annotated[Path, typer.Option(help="The folder of results; one that was begun is continued.")] = Path("fit"),
    preset: Annotated[str, typer.Option(help="paper (CUDA, hours) or mini (about a minute on two cores).")] = "mini",
    hold_camera: Annotated[list[str] | None, typer.Option(help="A camera to leave out; may be repeated.")] = None,
    hold_sequence: Annotated[list[str] | None, typer.Option(help="A sequence to leave out; may be repeated.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value of the preset, e.g. density.enabled=false")
    ] = None,
) -> None:
    """Fit Gaussians bound to a rig to one person's frames, as GaussianAvatars does.

    \b
    avatarbench fit heads --subject 001 --out fits/001
    avatarbench fit heads --subject 001 --out fits/free density.enabled=false
    avatarbench fit heads --subject 001 --hold-camera 222200046 --hold-sequence EXP-5-mouth

    Writes cloud.ply (canonical, with bindings; splat viewers open it), cloud.npz, local.npz, fit.json, turntable.mp4.
    Interrupt it when you like: the same command goes on from the last checkpoint.
    """
    from rich.progress import Progress, TextColumn

    from avatarbench.fitting.config import load_preset
    from avatarbench.fitting.fit import Progress as Step
    from avatarbench.fitting.run import fit_person
    from avatarbench.run.progress import console, progress_bar

    config = load_preset(preset, overrides or [])
    columns = (*progress_bar().columns, TextColumn("{task.fields[points]} points, {task.fields[psnr]:.1f} dB"))
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(f"fit {subject}", total=config.steps, points=0, psnr=0.0)

            def watch(step: Step) -> None:
                bar.update(task, completed=step.step, points=step.points, psnr=step.psnr)

            found = fit_person(data, subject, out, config, watch, hold_camera or (), hold_sequence or ())
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from the last checkpoint.")
        raise typer.Exit(130) from None
    typer.echo(f"{out}: {len(found.gaussians)} Gaussians, {found.psnr():.1f} dB on the last pictures it learned from.")
