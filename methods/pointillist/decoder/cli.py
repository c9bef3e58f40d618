"""``avatarbench train pointillist decoder``: stage two from clouds and pictures to weights."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarbench.errors import UsageError

if TYPE_CHECKING:
    from avatarbench.methods.pointillist.training.loop import Watched


def decoder(
    data: Annotated[Path, typer.Option(help="The training set: a folder that 'train pointillist data' wrote.")],
    clouds: Annotated[Path, typer.Option(help="Its clouds: a folder that 'train pointillist clouds' wrote.")],
    views: Annotated[Path, typer.Option(help="The pictures that the set was made from: OpenHeads, or NeRSemble.")],
    out: Annotated[Path, typer.Option(help="The folder of results; training that was begun there goes on.")],
    tracking: Annotated[
        Path | None, typer.Option(help="A folder of VHAP exports, one a person, for people on FLAME.")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option("--eval", help="A set of other people, to evaluate on while training.")
    ] = None,
    held_clouds: Annotated[Path | None, typer.Option("--eval-clouds", help="With --eval: its clouds.")] = None,
    held_views: Annotated[Path | None, typer.Option("--eval-views", help="With --eval: its pictures.")] = None,
    held_tracking: Annotated[
        Path | None, typer.Option("--eval-tracking", help="With --eval: as --tracking. Default: --tracking.")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(help="mini, one of its ablations (mini-ar-position, ...), or paper."),
    ] = "mini",
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of configs/pointillist_decoder/PRESET.yaml."),
    ] = None,
) -> None:
    """Train stage two, the Gaussian decoder, on clouds of a frozen stage one.

    \b
    avatarbench train pointillist decoder --data set --clouds clouds --views people --out runs/decoder
    avatarbench train pointillist decoder --data set --clouds clouds --views people --out runs/decoder \\
      --eval held-out --eval-clouds held-clouds --eval-views held-people train.steps=2000
    avatarbench train pointillist decoder ... --preset mini-flame-position

    Writes decoder.safetensors (the averaged weights), state.pt, log.jsonl, curves.png, tensorboard/, config.json and,
    with --eval, validation/. Interrupt it when you like: the same command goes on where it stopped.
    """
    from avatarbench.methods.pointillist.decoder.open import opened, validation_of
    from avatarbench.methods.pointillist.decoder.presets import load_decoder_preset
    from avatarbench.methods.pointillist.decoder.run import WEIGHTS, train
    from avatarbench.methods.pointillist.training.loop import Interrupt, Stop, make_accelerator
    from avatarbench.methods.pointillist.training.watch import Watch
    from avatarbench.run.progress import console

    config = load_decoder_preset(preset, overrides or [])
    others = {"--eval": held_out, "--eval-clouds": held_clouds, "--eval-views": held_views}
    missing = [name for name, value in others.items() if value is None]
    if missing and len(missing) < len(others):
        raise UsageError(f"{', '.join(missing)} is missing: evaluation needs --eval, --eval-clouds and --eval-views.")
    accelerator = make_accelerator(config.train.precision)
    shown = accelerator.is_main_process
    learnt, judge = opened(data, clouds, views, tracking, config, accelerator.device), None
    notes = list(learnt.batches.notes)
    if held_out is not None and held_clouds is not None and held_views is not None:
        where = (held_out, held_clouds, held_views, held_tracking or tracking)
        held = opened(*where, config, accelerator.device, learnt)
        judge = validation_of(held, learnt)
        notes += [f"to evaluate on: {note}" for note in held.batches.notes]
        if held.clouds.known is None:
            notes.append("stage one's weights do not say who they were trained on: see to it that --eval has others")
    for note in notes if shown else ():
        typer.echo(f"warning: {note}.", err=True)
    interrupt = Interrupt()
    watch = Watch(interrupt, config.train.steps, shown, _pace, _told)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, watch.interrupt)
    try:
        with watch:
            train(learnt.batches, learnt.origin, out, config, accelerator, judge, watch, interrupt)
    except (KeyboardInterrupt, Stop):
        console.print("stopped; the same command goes on from the last state that was saved.", highlight=False)
        raise typer.Exit(130) from None
    if shown:
        if watch.made:
            typer.echo(f"{out}: {config.train.steps} steps are trained; the weights are {out / WEIGHTS}.")
        else:
            typer.echo(f"{out}: this training is finished, and nothing was done. Another needs another --out.")


def _pace(watched: Watched) -> str:
    return f"{watched.seconds:.2f} s/step"


def _told(step: int, found: dict[str, Any]) -> str:
    """One line of an evaluation."""
    terms = ", ".join(f"{name} {value:.4f}" for name, value in found["terms"].items())
    return f"step {step}, held out: loss {found['loss']:.4f}; {terms}"
