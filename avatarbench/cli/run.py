"""``avatarbench run``."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarbench.cli.own_code import add_paths, make_absolute
from avatarbench.cli.runs import find_run
from avatarbench.errors import UsageError

if TYPE_CHECKING:
    from avatarbench.run.config import RunConfig
    from avatarbench.run.prepare import Prepared
    from avatarbench.run.record import RunRecord

EXIT = {"complete": 0, "partial": 3, "failed": 1}


def run(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of configs/run.yaml; they win over the flags."),
    ] = None,
    method: Annotated[list[str] | None, typer.Option("--method", "-m", help="Method id; repeat to compare.")] = None,
    protocol: Annotated[
        list[str] | None, typer.Option("--protocol", "-p", help="Protocol id; may be repeated.")
    ] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric id; default: the protocol's. May be repeated.")
    ] = None,
    sources: Annotated[int | None, typer.Option(help="At most this many sources.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="At most this many driver frames a source, from its driver sequences in turn.")
    ] = None,
    stride: Annotated[int | None, typer.Option(help="Every n-th driver frame.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the square frames, pixels (256, 512).")] = None,
    portraits: Annotated[Path | None, typer.Option(help="Your portraits: a folder or one image.")] = None,
    clip: Annotated[
        Path | None, typer.Option(help="Your driving video, its frames in a folder, or a folder of videos.")
    ] = None,
    openheads: Annotated[
        Path | None, typer.Option(help="Your generated OpenHeads folder, instead of the test split.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(help="Your copy of the licensed data that the protocol is on.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Where 'data prepare' wrote the manifest, if not beside the data.")
    ] = None,
    repo: Annotated[
        list[str] | None,
        typer.Option(
            help="Your checkout of an official method's repository; of several methods, one each.",
            metavar="[METHOD=]PATH",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Its weights: their folder, or the only file.", metavar="[METHOD=]PATH")
    ] = None,
    tracker: Annotated[
        str | None,
        typer.Option(help="FLAME tracking for methods that read it: vhap, pixel3dmm, or the dataset's."),
    ] = None,
    tracking: Annotated[Path | None, typer.Option(help="The folder of that tracking, a folder a sequence.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random draw.")] = None,
    skip_missing: Annotated[
        bool | None, typer.Option("--skip-missing", help="Leave out what cannot run instead of stopping.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    resume: Annotated[str | None, typer.Option(help="Go on with this run: its folder, its id, or 'last'.")] = None,
) -> None:
    """Build avatars, drive them, score the frames, print the table.

    \b
    avatarbench run -m face-warp -p portrait-cross
    avatarbench run -m face-warp -m source-copy -p clip-self --limit 20 --skip-missing
    avatarbench run -m face-warp -p openheads-self -p openheads-cross-gt --sources 3 --limit 8
    avatarbench run -m face-warp -p portrait-cross --portraits me/ --clip talk.mp4 --size 512
    avatarbench run -m face-warp -p nersemble-self -p nersemble-cross --data-root NeRSemble
    avatarbench run -m gagavatar -p vfhq-self --data-root VFHQ --repo GAGAvatar --weights GAGAvatar/assets
    avatarbench run -m gpavatar -m cvthead -p vfhq-self --data-root VFHQ --repo gpavatar=GPAvatar --repo cvthead=CVTHead
    avatarbench run -m lam -p nersemble-self --data-root NeRSemble --tracker dataset --repo LAM --weights LAM-20K
    avatarbench run -m face-warp -p portrait-cross batch=4 frames.start=100
    avatarbench run --resume last
    """
    signal.signal(signal.SIGTERM, _interrupt)
    roots = {"portraits": portraits, "clip": clip, "openheads": openheads}
    flags = {
        "methods": method,
        "metrics": metric,
        "sources.limit": sources,
        "frames.limit": limit,
        "frames.stride": stride,
        "image.size": size,
        "manifest": None if manifest is None else str(manifest),
        "tracker": tracker,
        "tracking": None if tracking is None else str(tracking),
        "device": device,
        "seed": seed,
        "skip_missing": skip_missing,
    }
    own = {"repo": repo or [], "weights": weights or []}
    if resume is not None:
        given = (overrides, protocol, data_root, *flags.values(), *roots.values(), *own.values())
        if any(value is not None and value != [] for value in given):
            raise UsageError("--resume takes its configuration from the run: give no other option but --out.")
        from avatarbench.run.prepare import reopen

        folder = find_run(resume, out)
        _execute([(folder, *reopen(folder))])
        return
    from avatarbench.run.prepare import prepare_all, start

    configs = _configs(flags, roots, protocol, overrides or [], data_root, own)
    prepared = prepare_all(configs)
    command = ["avatarbench", *sys.argv[1:]]
    started = [start(one, out, command) for one in prepared]
    _execute([(folder, one, record) for one, (folder, record) in zip(prepared, started, strict=True)])


def _configs(
    flags: dict[str, Any],
    roots: dict[str, Path | None],
    protocols: list[str] | None,
    overrides: list[str],
    data_root: Path | None,
    own: dict[str, list[str]],
) -> list[RunConfig]:
    """One configuration a protocol. Every unknown name is an error here, before anything is looked at."""
    from avatarbench.run.config import load_config
    from avatarbench.run.preflight import resolve

    configs = []
    used: set[str] = set()
    licensed: dict[str, None] = {}
    errors = []
    chosen: list[str | None] = list(dict.fromkeys(protocols or ()))
    for protocol in chosen or [None]:
        config = load_config({**flags, "protocol": protocol}, overrides)
        try:
            for flag, paths in own.items():
                add_paths(config.method, config.methods, flag, paths)
            make_absolute(config.method, config.methods)
            spec = resolve(config).protocol
        except UsageError as error:
            errors += [line for line in str(error).splitlines() if line not in errors]
            continue
        reads = set(spec.datasets)
        used |= reads
        if spec.split is not None and data_root is not None:
            licensed |= dict.fromkeys(spec.datasets)
            config.data = dict.fromkeys(spec.datasets, str(data_root.expanduser().absolute())) | config.data
        config.data |= {
            name: str(path.expanduser().absolute())
            for name, path in roots.items()
            if path and name in reads and name not in config.data
        }
        configs.append(config)
    if errors:
        raise UsageError("\n".join(errors))
    if data_root is not None and len(licensed) != 1:
        several = " ".join(f"data.{name}=DIR" for name in licensed)
        raise UsageError(
            f"--data-root is one folder, and the chosen protocols read {' and '.join(licensed)}: use {several}."
            if licensed
            else "--data-root was given, and no chosen protocol is on licensed data."
        )
    for name, path in roots.items():
        if path and name not in used:
            raise UsageError(f"--{name} was given, and no chosen protocol reads the dataset '{name}'.")
    return configs


def _execute(runs: list[tuple[Path, Prepared, RunRecord]]) -> None:
    """Execute all, then print one table. Stopped, it says how to go on with each that is not finished."""
    from avatarbench.run.pipeline import execute

    for number, (folder, prepared, record) in enumerate(runs):
        try:
            execute(prepared, folder, record)
        except (KeyboardInterrupt, OSError) as error:
            commands = "".join(f"\n  avatarbench run --resume {shlex.quote(str(f))}" for f, _, _ in runs[number:])
            typer.echo(f"\nstopped; what was done is kept. Go on with:{commands}", err=True)
            if isinstance(error, KeyboardInterrupt):
                raise typer.Exit(130) from None
            raise
    report([(folder, record) for folder, _, record in runs])


def report(done: list[tuple[Path, RunRecord]], speed: bool = True) -> None:
    """Print the table of all the runs, say where they are, and exit with the worst status."""
    from avatarbench.cli.table import print_tables

    print_tables([folder for folder, _ in done], speed=speed)
    for folder, record in done:
        typer.echo(f"{record.status}: {folder} (run.json, samples.parquet)", err=True)
    codes = {EXIT[record.status] for _, record in done}
    raise typer.Exit(next((code for code in (1, 3) if code in codes), 0))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
