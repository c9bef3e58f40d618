"""``avatarbench baseline``: keeping what a run scored, for ``avatarbench check`` to hold later runs against."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarbench.cli.runs import RUNS, find_run
from avatarbench.errors import UsageError

app = typer.Typer(
    help="Baselines: what a run scored, kept to hold later runs against.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.callback()
def baseline() -> None:
    """Baselines: what a run scored, kept to hold later runs against."""


@app.command("save")
def save(
    run: Annotated[str, typer.Argument(help="A finished run: its folder, its id, or 'last'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file, e.g. results/baselines/NAME.json.")],
    rerun: Annotated[
        list[str] | None,
        typer.Option(help="The same run done again, with another seed or thread count; may be repeated."),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(help="What may change unnoticed; may be repeated.", metavar="[METHOD:]METRIC=VALUE"),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Write over an existing baseline; its tolerances are kept.")
    ] = False,
    runs_dir: Annotated[Path, typer.Option("--runs", help="Where ids and 'last' are looked up.")] = RUNS,
) -> None:
    """Keep a run's values by sample, with the definitions, weights and data that they were measured with.

    Re-runs widen the tolerances to twice the largest difference that was seen between any two of them. METRIC may be
    'coverage': the part of the samples that may lose its value.

    \b
    avatarbench baseline save last -o results/baselines/openheads.json
    avatarbench baseline save RUN --rerun RUN2 --rerun RUN3 -o mine.json
    avatarbench baseline save last -o mine.json --tolerance lpips-vgg=0.005 --tolerance pointillist:coverage=0.02
    """
    from avatarbench.gate import baseline as file
    from avatarbench.gate.make import kept_tolerances, of_folder, require_values, with_reruns
    from avatarbench.gate.tolerance import parse

    given = parse(tolerance or [])
    if out.exists() and not update:
        raise UsageError(f"{out} exists. To write over it, keeping its tolerances: --update")
    kept = kept_tolerances(out) if out.exists() else {}
    allowed = {m: {**kept.get(m, {}), **given.get(m, {})} for m in dict.fromkeys([*kept, *given])}
    made = of_folder(find_run(run, runs_dir), allowed)
    if rerun:
        again = [of_folder(find_run(name, runs_dir)) for name in rerun]
        made = with_reruns(made, again)
        for other in again:
            if (commit := other.environment.git_commit) != made.environment.git_commit:
                typer.echo(
                    f"run {other.run} is of commit {commit or 'none'}, run {made.run} of "
                    f"{made.environment.git_commit or 'none'}: what changed between the two, the tolerances now allow.",
                    err=True,
                )
    require_values(made)
    file.require_tolerances(made, out)
    file.save(made, out)
    typer.echo(f"{out}: {len(made.samples)} samples of {len(made.identities)} identities, run {made.run}", err=True)
