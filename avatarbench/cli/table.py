"""``avatarbench table``: the table of one or more runs, or a paper's own."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, RenderableType

from avatarbench.cli.output import PIPED_WIDTH, stdout_console
from avatarbench.cli.runs import RUNS, find_run
from avatarbench.errors import AvatarbenchError, UsageError

if TYPE_CHECKING:
    from avatarbench.tables.build import Run
    from avatarbench.tables.grid import Grid

Content = str | Callable[[Console], RenderableType]
"""Text, or what to print once the console's width is known."""


class Format(StrEnum):
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    terminal = "terminal"


SUFFIXES = {".md": Format.markdown, ".tex": Format.latex, ".csv": Format.csv, ".txt": Format.terminal}


def table(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="[RUN]...", help="Run folders, ids, or 'last'.")] = None,
    output: Annotated[
        Format | None, typer.Option("--format", "-f", help="Default: by the ending of --out, else terminal.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file.")] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Only these metrics, in this order: ids separated by commas.")
    ] = None,
    digits: Annotated[int | None, typer.Option(min=0, max=12, help="Decimals; default: each metric's own.")] = None,
    transpose: Annotated[bool, typer.Option("--transpose", help="Metrics as rows, methods as columns.")] = False,
    speed: Annotated[bool, typer.Option("--speed", help="Speed and memory instead of the scores.")] = False,
    published: Annotated[
        str | None, typer.Option(help="A paper's own table, as printed: PAPER:TABLE.", metavar="PAPER:TABLE")
    ] = None,
    paper: Annotated[
        str | None, typer.Option(help="A paper whose --table is printed with ours beside it.", metavar="PAPER")
    ] = None,
    number: Annotated[
        str | None, typer.Option("--table", help="Which of its tables: 1, 2, S1.", metavar="TABLE")
    ] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Bootstrap intervals over identities behind the means.")
    ] = False,
    runs_dir: Annotated[
        Path, typer.Option("--runs", help="Where ids and 'last' are looked up, and runs for --paper.")
    ] = RUNS,
) -> None:
    """Print the table of one or more runs: best in bold, second underlined, every missing value with its reason.

    With --paper and --table: the paper's rows, its numbers and ours in columns of their own, from the runs given or,
    without any, from the newest runs on OpenHeads that have its methods; and whether its order of rows holds in ours.

    \b
    avatarbench table runs/20261121-demo
    avatarbench table 20261121-self 20261121-cross --format latex --out table.tex
    avatarbench table 20261121-self --metrics lpips-vgg,akd-mediapipe --digits 4 --format csv
    avatarbench table 20261121-self --speed
    avatarbench table --published avatarpointillist:1
    avatarbench table --paper avatarpointillist --table 2
    avatarbench table 20261121-self 20261121-cross --paper avatarpointillist --table 1 --intervals --out table1.md
    """
    chosen = output or (SUFFIXES.get(out.suffix, Format.terminal) if out else Format.terminal)
    wanted = [m.strip() for m in metrics.split(",") if m.strip()] if metrics else []
    if paper is not None or number is not None:
        if published or speed:
            raise UsageError("--paper goes with runs or with nothing: leave out --published and --speed.")
        folders = [find_run(name, runs_dir) for name in runs or ()]
        write(_beside(paper, number, folders, runs_dir, chosen, wanted, digits, transpose, intervals), out)
        return
    if bool(runs) == bool(published):
        raise UsageError(
            "give one or more runs, or --paper PAPER --table TABLE, or --published PAPER:TABLE. "
            f"Runs are the folders under {runs_dir}."
        )
    if published:
        write(_published(published, chosen), out)
        return
    from avatarbench.tables.build import load_run

    loaded = [load_run(find_run(name, runs_dir)) for name in runs or ()]
    write(_speed(loaded, chosen) if speed else _scores(loaded, chosen, wanted, digits, transpose, intervals), out)


def print_tables(folders: Sequence[Path], speed: bool = True) -> None:
    """What a finished run prints: one table of all its folders and, with ``speed``, what each method cost."""
    from avatarbench.tables import terminal
    from avatarbench.tables.build import build, load_run
    from avatarbench.tables.speed import speed_table

    runs = [load_run(folder) for folder in folders]
    console = stdout_console()
    console.print(terminal.renderable(build(runs), console))
    if speed:
        console.print(terminal.with_notes(speed_table(runs)))


def _scores(
    runs: list[Run], output: Format, metrics: list[str], digits: int | None, transpose: bool, intervals: bool
) -> Content:
    from avatarbench.tables import grid, terminal, tidy
    from avatarbench.tables.build import build

    built = build(runs, metrics, digits, intervals)
    if output is Format.csv:
        return tidy.render(built)
    if output is Format.terminal and not transpose:
        return lambda console: terminal.renderable(built, console)
    return _grid(grid.lay_out(built, transpose), output)


def _speed(runs: list[Run], output: Format) -> Content:
    from avatarbench.tables.speed import speed_csv, speed_table

    return speed_csv(runs) if output is Format.csv else _grid(speed_table(runs), output)


def _published(reference: str, output: Format) -> Content:
    from avatarbench.tables.published import load, published_csv, published_grid

    values = load()
    return (
        published_csv(reference, values) if output is Format.csv else _grid(published_grid(reference, values), output)
    )


def _beside(
    paper: str | None,
    number: str | None,
    folders: list[Path],
    runs: Path,
    output: Format,
    metrics: list[str],
    digits: int | None,
    transpose: bool,
    intervals: bool,
) -> Content:
    from avatarbench.tables import paper as papers
    from avatarbench.tables import paper_csv, terminal
    from avatarbench.tables.published import load

    if paper is None or number is None:
        values = load()
        known = dict.fromkeys((v.paper, v.table) for v in values if paper is None or v.paper == paper)
        choices = "; ".join(
            f"--paper {p} --table {t}" for p, t in known or dict.fromkeys((v.paper, v.table) for v in values)
        )
        raise UsageError(f"--paper and --table go together. There is: {choices}.")
    filled = papers.fill(papers.find(paper, number), folders, runs, metrics, digits, intervals)
    if output is Format.csv:
        return paper_csv.render(filled)
    if output is Format.terminal and not transpose:
        upright, turned = papers.lay_out(filled), papers.lay_out(filled, transpose=True)
        return lambda console: terminal.fitting(upright, turned, console)
    return _grid(papers.lay_out(filled, transpose), output)


def _grid(grid: Grid, output: Format) -> Content:
    from avatarbench.tables import latex, markdown, terminal

    if output is Format.terminal:
        return lambda _: terminal.with_notes(grid)
    return {Format.markdown: markdown, Format.latex: latex}[output].render(grid)


def write(content: Content, out: Path | None) -> None:
    """To ``out``, or to standard output. Raises AvatarbenchError where the file cannot be written."""
    if out is None:
        if callable(content):
            console = stdout_console()
            console.print(content(console))
        else:
            typer.echo(content, nl=False)
        return
    if callable(content):
        buffer = io.StringIO()
        console = Console(file=buffer, width=PIPED_WIDTH)
        console.print(content(console))
        content = "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"
    try:
        out.write_text(content, encoding="utf-8")
    except OSError as error:
        raise AvatarbenchError(f"cannot write {out}: {error.strerror}.") from error
