"""``avatarbench train pointillist ar``: stage one from a training set to weights."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from avatarbench.methods.pointillist.training.loop import Watched


def ar(
    data: Annotated[Path, typer.Option(help="The training set: a folder that 'train pointillist data' wrote.")],
    out: Annotated[Path, typer.Option(help="The folder of results; training that was begun there goes on.")],
    held_out: Annotated[
        Path | None, typer.Option("--eval", help="A set of other people, to evaluate on while training.")
    ] = None,
    generate: Annotated[
        int, typer.Option(min=0, help="With --eval: for how many of its people clouds are generated each time.")
    ] = 3,
    preset: Annotated[str, typer.Option(help="mini (hours on two cores, minutes on a GPU) or paper.")] = "mini",
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of configs/pointillist/PRESET.yaml.")
    ] = None,
) -> None:
    """Train stage one, the autoregressive transformer, on a training set.

    \b
    avatarbench train pointillist ar --data set --out runs/ar
    avatarbench train pointillist ar --data set --out runs/ar --eval held-out train.steps=500
    accelerate launch --num_processes 8 -m avatarbench train pointillist ar --data set --out runs/ar --preset paper

    Writes ar.safetensors (the averaged weights), state.pt, log.jsonl, curves.png, tensorboard/ and config.json.
    Interrupt it when you like: the same command goes on where it stopped.
    """
    from avatarbench.methods.pointillist.images import load_encoder
    from avatarbench.methods.pointillist.presets import load_preset
    from avatarbench.methods.pointillist.training.evaluation import Evaluation
    from avatarbench.methods.pointillist.training.loop import Interrupt, Stop, make_accelerator
    from avatarbench.methods.pointillist.training.run import train
    from avatarbench.methods.pointillist.training.watch import Watch
    from avatarbench.methods.pointillist.training_set import TrainingSet
    from avatarbench.run.progress import console

    config = load_preset(preset, overrides or [])
    interrupt = Interrupt()
    accelerator = make_accelerator(config.train.precision)
    subjects = TrainingSet(data)
    encoder = load_encoder(config.image, accelerator.device)
    judge = None if held_out is None else Evaluation(TrainingSet(held_out), subjects, config, encoder, generate)
    watch = Watch(interrupt, config.train.steps, accelerator.is_main_process, _pace, _told)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, watch.interrupt)
    try:
        with watch:
            train(subjects, out, config, encoder, accelerator, judge, watch, interrupt)
    except (KeyboardInterrupt, Stop):
        console.print("stopped; the same command goes on from the last state that was saved.", highlight=False)
        raise typer.Exit(130) from None
    if accelerator.is_main_process:
        if watch.made:
            typer.echo(f"{out}: {config.train.steps} steps are trained; the weights are {out / 'ar.safetensors'}.")
        else:
            typer.echo(f"{out}: this training is finished, and nothing was done. Another needs another --out.")


def _pace(watched: Watched) -> str:
    return f"{watched.step.tokens / max(watched.seconds, 1e-9):.0f} tokens/s"


def _told(step: int, found: dict[str, Any]) -> str:
    """One line of an evaluation."""
    hits = ", ".join(f"{kind} {share:.1%}" for kind, share in found["accuracy"].items() if kind != "all")
    line = f"step {step}, held out: {found['entropy']['all']:.3f} nats a token; most likely one true: {hits}"
    made = found.get("generated")
    if made is None:
        return line
    line += f"; generated {made['clouds']:.0f}: {made['valid']:.0%} valid, {made['ended']:.0%} ended"
    if "chamfer" in made:
        line += f", Chamfer {made['chamfer'] * 1000:.1f} mm, {made['count_error']:.0%} off in count"
    return line
