"""``avatarbench assets``: what there is, bringing it here, checking it, and where it lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from avatarbench import assets
from avatarbench.assets.catalogue import Asset
from avatarbench.cli.inventory import users
from avatarbench.cli.output import stdout_console
from avatarbench.errors import AssetError, UsageError

app = typer.Typer(
    help="Weights and files that metrics, protocols and methods need.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

MARKS = {"present": "[green]present[/]", "missing": "[yellow]missing[/]", "corrupt": "[red]corrupt[/]"}
BROKEN = "[bold red]broken[/]"


def megabytes(size: int | None) -> str:
    """``"3.8 MB"``, or ``"?"`` where the size is not known."""
    return "?" if size is None else f"{size / 1e6:.1f} MB"


@app.command("list", help="Every asset with its state, size, licence and source.\n\nExample: avatarbench assets list")
def list_() -> None:
    table = Table(title=f"Assets (cache: {assets.cache_root()})", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("id", "state", "size", "licence", "where from", "used by"):
        table.add_column(column, no_wrap=column in ("id", "state", "size"), overflow="fold")
    for id in assets.ids():
        try:
            asset = assets.get(id)
        except AssetError as error:  # another package's, at fault: the rest is listed
            table.add_row(id, BROKEN, "?", "?", escape(str(error)), ", ".join(users(id)))
            continue
        sources = "\n".join(source.label for source in asset.sources)
        table.add_row(
            asset.id,
            MARKS[assets.state(asset.id)],
            megabytes(_size(asset)),
            asset.licence if asset.unasked else f"{asset.licence} (ask for it)",
            sources,
            ", ".join(users(asset.id)),
        )
    stdout_console().print(table)


def _size(asset: Asset) -> int | None:
    if asset.size is not None or assets.state(asset.id) != "present":
        return asset.size
    return assets.path(asset.id).stat().st_size


@app.command(
    help="Fetch assets into the cache, verify them, and say where they are.\n\n"
    "Examples: avatarbench assets pull face-landmarker lpips-vgg16; avatarbench assets pull --all\n\n"
    "[bold]--all[/] leaves out what a licence asks you to choose (arcface): name such an asset to fetch it. "
    "Goes on past a failure and exits with 1 after listing what failed."
)
def pull(
    ids: Annotated[list[str] | None, typer.Argument(help="Asset ids, as `assets list` shows them.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every asset that may be fetched unasked.")] = False,
) -> None:
    wanted = [assets.get(id).id for id in ids or []]
    if all_:
        wanted += [id for id in assets.ids() if _unasked(id)]
    if not wanted:
        raise UsageError("name the assets to pull, or all of them with --all. `avatarbench assets list` shows them.")
    with assets.BarProgress(Console(stderr=True)) as progress:
        failed = assets.pull_all(wanted, progress)
    for id in dict.fromkeys(wanted):
        if id not in failed:
            typer.echo(f"{id}  {assets.path(id)}")
    _fail("fetched", failed, len(set(wanted)))


@app.command(
    help="Hash in full what is here, all of it or the assets named; a wrong hash exits with 1.\n\n"
    "Examples: avatarbench assets verify; avatarbench assets verify lpips-vgg16"
)
def verify(
    ids: Annotated[list[str] | None, typer.Argument(help="Asset ids. An asset named here must be present.")] = None,
) -> None:
    here = [id for id in assets.ids() if _here(id)]
    wanted = list(dict.fromkeys(assets.get(id).id for id in ids)) if ids else here
    if not wanted:
        typer.echo(f"nothing to verify: no asset is here yet ({assets.cache_root()}).")
    failed: dict[str, AssetError] = {}
    for id in wanted:
        try:
            found = assets.verify(id)
        except AssetError as error:
            failed[id] = error
        else:
            typer.echo(f"{id}  ok  {assets.sha256(id)}  {found}")
    _fail("verified", failed, len(wanted))


@app.command(
    "path",
    help="Print the path of a verified asset and nothing else.\n\n"
    "Example: ls -l $(avatarbench assets path face-landmarker)",
)
def path_(id: Annotated[str, typer.Argument(help="Asset id.")]) -> None:
    typer.echo(assets.path(id))


@app.command(
    "import-flame",
    help="Bring your own FLAME model: check FLAME 2020's or 2023's pickle and keep a plain copy of its arrays.\n\n"
    "Example: avatarbench assets import-flame generic_model.pkl --template head_template.obj\n\n"
    "The pickle is read without running anything in it, and neither chumpy nor scipy of old is needed. FLAME is "
    "licensed to you by its authors; the copy stays in your cache, under the same licence.",
)
def import_flame(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="generic_model.pkl, flame2023.pkl, or an .npz of these.")
    ],
    template: Annotated[
        Path | None, typer.Option("--template", help="FLAME's head_template.obj: adds the texture coordinates.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to write, .safetensors; by default the cache.")
    ] = None,
) -> None:
    from avatarbench.heads import flame_file  # here, since it brings numpy

    typer.echo(flame_file.import_flame(file, out, template))


def _unasked(id: str) -> bool:
    try:
        return assets.get(id).unasked
    except AssetError:  # a broken one is reported by the pull
        return True


def _here(id: str) -> bool:
    try:
        assets.get(id)
    except AssetError:  # a broken one is reported by the check
        return True
    return assets.state(id) != "missing"


def _fail(done: str, failed: dict[str, AssetError], total: int) -> None:
    """Print each failure to stderr and leave with exit code 1, if there is any."""
    if not failed:
        return
    for error in failed.values():
        typer.echo(f"\n{error}", err=True)
    typer.echo(f"\n{len(failed)} of {total} assets could not be {done}: {', '.join(failed)}", err=True)
    raise typer.Exit(1)
