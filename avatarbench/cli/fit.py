"""``avatarbench fit``: Gaussians bound to a rig, fitted to one person's multi-view frames."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from avatarbench.fitting.config import FitConfig
    from avatarbench.fitting.fit import Fit

FIRST, MEASURED, LONG = 5, 20, 3600.0
"""A fit's pace: steps passed over (the first ones compile), steps measured, and seconds that are worth a warning."""


def fit(
    data: Annotated[
        Path, typer.Argument(help="A folder in NeRSemble's layout (OpenHeads' or NeRSemble's), or a VHAP export.")
    ],
    subject: Annotated[str, typer.Option(help="The person, e.g. 001.")],
    out: Annotated[
        Path | None, typer.Option(help="The folder of results; one that was begun is continued. Default: fits/SUBJECT.")
    ] = None,
    preset: Annotated[str, typer.Option(help="mini (minutes on two cores) or paper (hours on a GPU).")] = "mini",
    hold_camera: Annotated[list[str] | None, typer.Option(help="A camera to leave out; may be repeated.")] = None,
    hold_sequence: Annotated[list[str] | None, typer.Option(help="A sequence to leave out; may be repeated.")] = None,
    tracking: Annotated[
        Path | None, typer.Option(help="The folder of the person's VHAP export: FLAME is the rig then.")
    ] = None,
    video: Annotated[bool, typer.Option("--video/--no-video", help="Write turntable.mp4.")] = True,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of configs/fit/PRESET.yaml."),
    ] = None,
) -> None:
    """Fit Gaussians bound to a rig to one person's frames, as GaussianAvatars does.

    \b
    avatarbench data openheads-test --views --out views
    avatarbench fit views --subject 501
    avatarbench fit views --subject 501 --out free density.enabled=false
    avatarbench fit views --subject 501 --out held --hold-camera 222200048 --hold-sequence EXP-5-mouth
    avatarbench fit nersemble --subject 306 --tracking 306_EMO-1_v16_DS4_whiteBg_staticOffset --preset paper

    Writes cloud.ply (canonical, with bindings; splat viewers open it), cloud.npz, head.avatar (drivable), views.jpg,
    turntable.mp4 and fit.json, which has PSNR and LPIPS of what was held out.
    Interrupt it when you like: the same command goes on where it stopped.
    """
    from avatarbench.fitting.config import load_preset
    from avatarbench.fitting.fit import Stop
    from avatarbench.fitting.run import fit_person, is_finished
    from avatarbench.run.progress import console

    config = load_preset(preset, overrides or [])
    folder = Path("fits") / Path(subject).name if out is None else out
    before = is_finished(folder, video)
    watch = _Watch(subject, config)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, watch.interrupt)
    try:
        with watch:
            found = fit_person(
                data, subject, folder, config, watch, hold_camera or (), hold_sequence or (), video, tracking
            )
    except (KeyboardInterrupt, Stop):
        console.print("stopped; the same command goes on from the last checkpoint.")
        raise typer.Exit(130) from None
    if before and not watch.steps:
        typer.echo(f"{folder}: this fit is finished, and nothing was written. Another fit needs another --out.")
        return
    _report(found, folder)


class _Watch:
    """The bar, and what stops a fit: Ctrl-C and SIGTERM wait for the end of a step; asked twice, they do not."""

    def __init__(self, subject: str, config: FitConfig) -> None:
        from rich.progress import Progress, TextColumn

        from avatarbench.run.progress import console, progress_bar

        shown = TextColumn("{task.fields[points]} points, {task.fields[psnr]:.1f} dB")
        columns = (TextColumn("{task.description}"), *progress_bar().columns[1:], shown)  # fits 80 characters
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task(f"fit {subject}", total=config.steps, points=0, psnr=float("nan"), start=False)
        self._console, self._config = console, config
        self._asked, self._stepping = False, False
        self._since = 0.0
        self.steps = 0

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, step: object) -> None:
        from avatarbench.fitting.fit import Progress, Stop

        assert isinstance(step, Progress)  # the module is not imported before it is needed
        if not self.steps:
            self._bar.start_task(self._task)
        self.steps += 1
        self._stepping = step.step < self._config.steps
        self._bar.update(self._task, completed=step.step, points=step.points, psnr=step.psnr)
        if self.steps == FIRST:
            self._since = time.monotonic()
        elif self.steps == FIRST + MEASURED:
            self._warn((time.monotonic() - self._since) / MEASURED, self._config.steps - step.step)
        if self._asked:
            raise Stop

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        if self._stepping and not self._asked:
            self._asked = True
        else:
            raise KeyboardInterrupt

    def _warn(self, seconds: float, steps: int) -> None:
        from avatarbench.fitting.run import device_of

        if seconds * steps > LONG and device_of(self._config).type == "cpu":
            self._console.print(
                f"a step takes {seconds:.2g} s on this CPU: the {steps} left are about {seconds * steps / 3600:.0f} "
                "hours. CUDA is faster by far, --preset mini is for CPUs, and you can stop and go on at any time.",
                highlight=False,
                soft_wrap=True,
            )


def _report(found: Fit, folder: Path) -> None:
    import json

    record = json.loads((folder / "fit.json").read_text(encoding="utf-8"))
    typer.echo(
        f"{folder}: {record['points']} Gaussians on {record['faces']} faces of '{record['rig']}', "
        f"{found.psnr():.1f} dB on the last pictures it learned from, {record['seconds']:.0f} s."
    )
    for kind, means in record["held_out"].get("means", {}).items():
        typer.echo(f"held out by {kind}: {_means(means)}")


def _means(means: dict[str, float | None]) -> str:
    psnr, lpips = means["psnr"], means["lpips-alex"]
    shown = f"PSNR {psnr:.2f} dB" if psnr is not None else "no PSNR"
    return f"{shown}, {f'LPIPS {lpips:.3f}' if lpips is not None else 'no LPIPS'} over {means['views']} views"
