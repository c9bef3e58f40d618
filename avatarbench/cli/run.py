"""``avatarbench run``."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarbench.errors import UsageError

if TYPE_CHECKING:
    from avatarbench.run.config import RunConfig
    from avatarbench.run.pipeline import Prepared
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
    limit: Annotated[int | None, typer.Option(help="At most this many driver frames a sequence.")] = None,
    stride: Annotated[int | None, typer.Option(help="Every n-th driver frame.")] = None,
    size: Annotated[int | None, typer.Option(help="Side of the square frames, pixels (256, 512).")] = None,
    portraits: Annotated[Path | None, typer.Option(help="Your portraits: a folder or one image.")] = None,
    clip: Annotated[Path | None, typer.Option(help="Your driving video, or a folder of them.")] = None,
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
    avatarbench run -m face-warp -p portrait-cross --portraits me/ --clip talk.mp4 --size 512
    avatarbench run -m face-warp -p portrait-cross batch=4 frames.start=100
    avatarbench run --resume last
    """
    signal.signal(signal.SIGTERM, _interrupt)
    given = (overrides, method, protocol, metric, limit, stride, size, portraits, clip, device, seed, skip_missing)
    if resume is not None:
        if any(given):
            raise UsageError("--resume takes its configuration from the run: give no other option but --out.")
        report([_resume(_find_run(resume, out))])
        return
    flags = {
        "methods": method,
        "metrics": metric,
        "frames.limit": limit,
        "frames.stride": stride,
        "image.size": size,
        "device": device,
        "seed": seed,
        "skip_missing": skip_missing,
    }
    roots = {"portraits": portraits, "clip": clip}
    report(_start(_configs(flags, roots, protocol, overrides or []), out))


def _configs(
    flags: dict[str, Any], roots: dict[str, Path | None], protocols: list[str] | None, overrides: list[str]
) -> list[RunConfig]:
    """One configuration a protocol. Every unknown name is an error here, before anything is looked at."""
    from avatarbench.run.config import load_config
    from avatarbench.run.preflight import resolve

    configs = []
    used: set[str] = set()
    errors = []
    chosen: list[str | None] = list(dict.fromkeys(protocols or ()))
    for protocol in chosen or [None]:
        config = load_config({**flags, "protocol": protocol}, overrides)
        try:
            spec = resolve(config).protocol
        except UsageError as error:
            errors += [line for line in str(error).splitlines() if line not in errors]
            continue
        reads = {spec.sources.dataset, spec.drivers.dataset}
        used |= reads
        config.data |= {
            name: str(path) for name, path in roots.items() if path and name in reads and name not in config.data
        }
        configs.append(config)
    if errors:
        raise UsageError("\n".join(errors))
    for name, path in roots.items():
        if path and name not in used:
            raise UsageError(f"--{name} was given, and no chosen protocol reads the dataset '{name}'.")
    return configs


def _start(configs: list[RunConfig], out: Path) -> list[tuple[Path, RunRecord]]:
    from avatarbench.run.pipeline import prepare, start

    prepared = [prepare(config) for config in configs]
    done = []
    for one in prepared:
        folder, record = start(one, out, ["avatarbench", *sys.argv[1:]])
        _execute(one, folder, record)
        done.append((folder, record))
    return done


def _resume(folder: Path) -> tuple[Path, RunRecord]:
    from avatarbench.run.pipeline import reopen

    prepared, record = reopen(folder)
    _execute(prepared, folder, record)
    return folder, record


def _execute(prepared: Prepared, folder: Path, record: RunRecord) -> None:
    from avatarbench.run.pipeline import execute

    try:
        execute(prepared, folder, record)
    except KeyboardInterrupt:
        typer.echo(
            f"\ninterrupted; nothing is lost. Go on with:\n  avatarbench run --resume {_quote(folder)}", err=True
        )
        raise typer.Exit(130) from None
    except OSError:
        typer.echo(
            f"\nstopped; what was done is kept. Go on with:\n  avatarbench run --resume {_quote(folder)}", err=True
        )
        raise


def _quote(folder: Path) -> str:
    return shlex.quote(str(folder))


def _find_run(name: str, out: Path) -> Path:
    """A folder, an id under ``out``, or the newest run under ``out``. Raises UsageError naming what is there."""
    if name == "last":
        runs = sorted(out.glob("*/run.json"), key=lambda p: p.stat().st_mtime)
        if not runs:
            raise UsageError(f"there are no runs under {out}.")
        return runs[-1].parent
    for folder in (Path(name), out / name):
        if (folder / "run.json").is_file():
            return folder
    known = ", ".join(sorted(p.parent.name for p in out.glob("*/run.json"))[-5:]) or "none"
    raise UsageError(f"no run '{name}': neither a folder with a run.json nor an id under {out}. Newest there: {known}.")


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
