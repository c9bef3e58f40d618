"""``avatarbench build``: portraits to avatar files."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from avatarbench.errors import DataError, UsageError

if TYPE_CHECKING:
    from avatarbench.animation.building import Built

ENDING = ".avatar"


def build(
    portraits: Annotated[
        list[Path], typer.Argument(metavar="PORTRAIT...", help="Pictures of one face each, or folders of them.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The .avatar to write, or a folder: needed for several. Default: PORTRAIT's name, here."),
    ] = None,
    method: Annotated[str, typer.Option("--method", "-m", help="The method that builds.")] = "pointillist",
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the method; may be repeated.")
    ] = None,
    size: Annotated[
        int,
        typer.Option(help="Side of the square about the face that the method sees, pixels.", min=64, max=4096),
    ] = 512,
    mask: Annotated[Path | None, typer.Option(help="White where the person of the one portrait is.")] = None,
) -> None:
    """Build an avatar from a portrait: a file that 'animate' drives and 'view' shows.

    \b
    avatarbench build me.jpg --out me.avatar
    avatarbench build people/ --out avatars --method photo-rig
    avatarbench build me.jpg --set checkpoint=ar.safetensors --set decoder=decoder.safetensors --set seed=1

    Exit codes: 0 all built, 3 some, 1 none or failure, 2 usage, 130 interrupted.
    """
    pictures = _pictures(portraits)
    if out is None and len(pictures) > 1:
        raise UsageError(f"there are {len(pictures)} portraits: name a folder for their avatars with --out.")
    if mask is not None and len(pictures) > 1:
        raise UsageError(f"--mask is of one portrait, and there are {len(pictures)}: build them one by one.")
    outs, options = _outs(pictures, out or Path()), options_of(option or [])
    from avatarbench.datasets.images import require_one

    require_one(pictures)  # before what takes seconds to import

    from avatarbench.animation.building import build as make
    from avatarbench.animation.building import set_up
    from avatarbench.generator import probe
    from avatarbench.run.progress import progress_bar

    for folder in dict.fromkeys(path.parent for path in outs):
        probe(folder, "--out")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        ready = set_up(method, options)
        with progress_bar() as bar:
            task = bar.add_task("build", total=len(pictures))
            made = make(ready, pictures, outs, size, mask, lambda n: bar.update(task, completed=n))
    except KeyboardInterrupt:
        typer.echo("\ninterrupted; avatars that were finished are whole.", err=True)
        raise typer.Exit(130) from None
    _report(made)


def _pictures(paths: Sequence[Path]) -> list[Path]:
    """Files, a folder standing for the pictures in it. Raises DataError for a folder without any."""
    from avatarbench.datasets.images import IMAGE_SUFFIXES

    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
        if not inside:
            raise DataError(f"{path} holds no pictures (looked for {' '.join(IMAGE_SUFFIXES)}).")
        found += inside
    return found


def _outs(portraits: Sequence[Path], out: Path) -> list[Path]:
    """A file for each portrait. Raises UsageError where two would be one, or one file is named for several."""
    if out.suffix.lower() == ENDING and not out.is_dir():
        if len(portraits) > 1:
            raise UsageError(f"--out {out} is one file, and there are {len(portraits)} portraits: name a folder.")
        return [out]
    if out.is_file():
        raise UsageError(f"--out {out} is a file: name an {ENDING} to write, or a folder.")
    found: dict[Path, Path] = {}
    for portrait in portraits:
        path = out / f"{portrait.stem}{ENDING}"
        if path in found:
            raise UsageError(f"{found[path]} and {portrait} would both be {path}: build them into two folders.")
        found[path] = portrait
    return list(found)


def options_of(given: Sequence[str], flag: str = "--set") -> dict[str, Any]:
    """KEY=VALUE, values as in YAML. ``flag``: that they were given with. Raises UsageError."""
    from omegaconf import OmegaConf

    found: dict[str, Any] = {}
    for text in given:
        key, equals, _ = text.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"{flag} {text}: give an option of the method as KEY=VALUE.")
        try:
            value = OmegaConf.to_container(OmegaConf.from_dotlist([text]), resolve=True)
        except Exception as error:  # whatever YAML's scanner and OmegaConf raise of a value
            raise UsageError(f"{flag} {text}: the value cannot be read ({' '.join(str(error).split())}).") from error
        found |= cast(dict[str, Any], value)
    return found


def _report(made: Sequence[Built]) -> None:
    failed = [f"{one.portrait}: {one.failure}" for one in made if one.failure is not None]
    if len(failed) == len(made):
        raise DataError("\n".join(failed))
    for one in made:
        if one.file is None:
            continue
        count = f"{one.info['gaussians']:.0f} Gaussians" if "gaussians" in one.info else "an avatar"
        stages = {key.removesuffix("_seconds"): s for key, s in one.info.items() if key.endswith("_seconds")}
        parts = "".join(f", {stage} {seconds:.1f} s" for stage, seconds in stages.items())
        typer.echo(f"{one.file}: {count} in {one.seconds:.1f} s{parts}.")
        for note in one.notes:
            typer.echo(f"{one.portrait}: {note}", err=True)
    for line in failed:
        typer.echo(line, err=True)
    if failed:
        raise typer.Exit(3)
