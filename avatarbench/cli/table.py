"""``avatarbench table``: the table of one or more runs, or a paper's own."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    from avatarbench.tables.layouts import Layout

Content = str | Callable[[Console], RenderableType]
"""Text, or what to print once the console's width is known."""


class Format(StrEnum):
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    html = "html"
    terminal = "terminal"


class Marks(StrEnum):
    bold = "bold"
    colour = "colour"


SUFFIXES = {
    ".md": Format.markdown,
    ".tex": Format.latex,
    ".csv": Format.csv,
    ".html": Format.html,
    ".txt": Format.terminal,
}
WITHOUT_COLOUR = {Format.markdown: "GitHub drops colours", Format.csv: "a column says which is best"}


@dataclass(frozen=True)
class Look:
    """How a grid is printed. ``fit`` turns it where it is too wide for a terminal."""

    format: Format
    marks: Marks
    transpose: bool

    def content(self, grid: Grid, fit: bool = False) -> Content:
        from avatarbench.tables import html, latex, markdown, terminal
        from avatarbench.tables.grid import turned

        if self.format is Format.terminal and fit and not self.transpose:
            return lambda console: terminal.fitting(grid, console, self.marks.value)
        grid = turned(grid) if self.transpose else grid
        if self.format is Format.terminal:
            return lambda console: terminal.with_notes(grid, console, self.marks.value)
        if self.format is Format.markdown:
            return markdown.render(grid, caption=True)
        return {Format.latex: latex, Format.html: html}[self.format].render(grid, self.marks.value)


@dataclass(frozen=True)
class Scores:
    """Which of our figures are shown, and how exactly."""

    metrics: Sequence[str] = ()
    digits: int | None = None
    intervals: bool = False
    also: Sequence[str] = ()


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
    marks: Annotated[
        Marks, typer.Option(help="Best and second: bold and underlined, or red and blue (terminal, LaTeX, HTML).")
    ] = Marks.bold,
    speed: Annotated[bool, typer.Option("--speed", help="Speed and memory instead of the scores.")] = False,
    paper: Annotated[
        str | None, typer.Option(help="A paper whose --table is printed with ours beside it.", metavar="PAPER")
    ] = None,
    number: Annotated[
        str | None, typer.Option("--table", help="Which of its tables: 1, 2, S1.", metavar="TABLE")
    ] = None,
    also: Annotated[
        str | None,
        typer.Option(help="With --paper: further methods of the runs below its rows: ids separated by commas."),
    ] = None,
    published_only: Annotated[
        bool, typer.Option("--published-only", help="With --paper: the paper's own numbers alone, to the digit.")
    ] = False,
    published: Annotated[
        str | None, typer.Option(help="Short for --paper PAPER --table TABLE --published-only.", metavar="PAPER:TABLE")
    ] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="Bootstrap intervals over identities behind the means.")
    ] = False,
    runs_dir: Annotated[
        Path, typer.Option("--runs", help="Where ids and 'last' are looked up, and runs for --paper.")
    ] = RUNS,
) -> None:
    """Print the table of one or more runs: best and second marked, every missing value with its reason.

    With --paper and --table: the paper's rows, columns and order, its numbers and ours side by side, from the runs
    given or, without any, from the newest of its protocol; and the difference, where the two compare.

    \b
    avatarbench table runs/20261121-demo
    avatarbench table 20261121-self 20261121-cross --format latex --out table.tex
    avatarbench table 20261121-self --metrics lpips-vgg,akd-mediapipe --digits 4 --format csv
    avatarbench table 20261121-self --speed
    avatarbench table --paper avatarpointillist --table 1 --published-only --marks colour --out table1.html
    avatarbench table --paper avatarpointillist --table 2
    avatarbench table 20261121-self 20261121-cross --paper avatarpointillist --table S1 --also my-method --out s1.md
    """
    chosen = output or (SUFFIXES.get(out.suffix, Format.terminal) if out else Format.terminal)
    if marks is Marks.colour and chosen in WITHOUT_COLOUR:
        raise UsageError(f"--marks colour does not go with {chosen.value}: {WITHOUT_COLOUR[chosen]}. Leave it out.")
    look = Look(chosen, marks, transpose)
    scores = Scores(_ids(metrics), digits, intervals, _ids(also))
    if published or published_only:
        if runs or speed or scores != Scores() or (published and (paper or number)):
            raise UsageError(
                "a paper's own numbers are printed as they stand: --published PAPER:TABLE and --paper PAPER --table "
                "TABLE --published-only take neither runs nor --metrics, --digits, --intervals, --also or --speed."
            )
        write(_published(_layout(published, paper, number), look), out)
        return
    if paper is not None or number is not None:
        if speed:
            raise UsageError("--paper goes with runs or with nothing: leave out --speed.")
        layout = _layout(None, paper, number)
        write(_beside(layout, [find_run(name, runs_dir) for name in runs or ()], runs_dir, look, scores), out)
        return
    if also:
        raise UsageError("--also adds rows to a paper's table: give --paper and --table, or leave it out.")
    if not runs:
        raise UsageError(
            "give one or more runs, or --paper PAPER --table TABLE, or --published PAPER:TABLE. "
            f"Runs are the folders under {runs_dir}."
        )
    from avatarbench.tables.build import load_run

    loaded = [load_run(find_run(name, runs_dir)) for name in runs]
    _tell_left_out(loaded, look)
    write(_speed(loaded, look) if speed else _scores(loaded, look, scores), out)


def _tell_left_out(runs: Sequence[Run], look: Look) -> None:
    """CSV has no place for notes."""
    for run in runs:
        if run.left_out and look.format is Format.csv:
            typer.echo(f"run {run.record.id}: {run.left_out}", err=True)


def _ids(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def print_tables(folders: Sequence[Path], speed: bool = True) -> None:
    """What a finished run prints: one table of all its folders and, with ``speed``, what each method cost."""
    from avatarbench.tables import terminal
    from avatarbench.tables.build import build, load_run
    from avatarbench.tables.speed import speed_table

    runs = [load_run(folder) for folder in folders]
    console = stdout_console()
    console.print(terminal.renderable(build(runs), console))
    if speed:
        console.print(terminal.with_notes(speed_table(runs), console))


def _scores(runs: list[Run], look: Look, scores: Scores) -> Content:
    from avatarbench.tables import grid, tidy
    from avatarbench.tables.build import build

    built = build(runs, scores.metrics, scores.digits, scores.intervals)
    return tidy.render(built) if look.format is Format.csv else look.content(grid.lay_out(built), fit=True)


def _speed(runs: list[Run], look: Look) -> Content:
    from avatarbench.tables.speed import speed_csv, speed_table

    return speed_csv(runs) if look.format is Format.csv else look.content(speed_table(runs))


def _layout(reference: str | None, paper: str | None, number: str | None) -> Layout:
    from avatarbench.tables.layouts import LAYOUTS, layout, referred

    if reference is not None:
        return referred(reference)
    if paper is None or number is None:
        fitting = [known for known in LAYOUTS if known.paper == paper] or LAYOUTS
        choices = "; ".join(f"--paper {known.paper} --table {known.table}" for known in fitting)
        raise UsageError(f"--paper and --table go together. There is: {choices}.")
    return layout(paper, number)


def _published(layout: Layout, look: Look) -> Content:
    from avatarbench.tables.published import load
    from avatarbench.tables.published_grid import published_csv, published_grid

    values = load()
    return published_csv(layout, values) if look.format is Format.csv else look.content(published_grid(layout, values))


def _beside(layout: Layout, folders: list[Path], runs: Path, look: Look, scores: Scores) -> Content:
    from avatarbench.tables import paper_csv, paper_grid
    from avatarbench.tables.paper import fill
    from avatarbench.tables.published import load

    filled = fill(layout, load(), folders, runs, scores.metrics, scores.digits, scores.intervals, scores.also)
    _tell_left_out(filled.chosen.runs, look)
    return paper_csv.render(filled) if look.format is Format.csv else look.content(paper_grid.lay_out(filled), fit=True)


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
