"""``avatarbench check``: whether a run is worse than its baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avatarbench.cli.output import stdout_console
from avatarbench.cli.runs import RUNS, find_run
from avatarbench.errors import DataError, UsageError


def check(
    run: Annotated[str, typer.Argument(help="A finished run: its folder, its id, or 'last'.")],
    baseline: Annotated[Path, typer.Option(help="The file that `avatarbench baseline save` wrote.")],
    json: Annotated[Path | None, typer.Option("--json", help="Write the verdict as JSON.", metavar="FILE")] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write JUnit XML: a test case a metric and method.", metavar="FILE")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write a summary for a pull request.", metavar="FILE")
    ] = None,
    runs_dir: Annotated[Path, typer.Option("--runs", help="Where ids and 'last' are looked up.")] = RUNS,
) -> None:
    """Hold a run against a baseline, sample by sample. Exit code 0: nothing worse, 1: worse, 2: not checked.

    A metric fails where it is worse by more than its tolerance and the difference is separated from zero by a
    bootstrap over identities. Lost values, missing samples and changed definitions, weights or data fail too.

    \b
    avatarbench check last --baseline results/baselines/openheads.json
    avatarbench check RUN --baseline mine.json --junit check.xml --markdown summary.md --json check.json
    """
    from avatarbench.files import writing
    from avatarbench.gate import baseline as file
    from avatarbench.gate import compare, records, terminal
    from avatarbench.gate import junit as xml
    from avatarbench.gate import markdown as summary
    from avatarbench.gate.make import of_folder

    saved = file.load(baseline)
    try:
        now = of_folder(find_run(run, runs_dir))
    except DataError as error:  # 1 is for a run that was checked and is worse
        raise UsageError(f"nothing was checked: {error}") from error
    verdict = compare.check(now, saved, str(baseline))
    for path, render in ((json, records.render), (junit, xml.render), (markdown, summary.render)):
        if path is not None:
            try:
                with writing(path) as temporary:
                    temporary.write_text(render(verdict), encoding="utf-8")
            except OSError as error:  # 1 would read as worse, whatever the verdict is
                raise UsageError(f"cannot write {path}: {error.strerror}. {verdict.headline()}") from error
    console = stdout_console()
    console.print(terminal.renderable(verdict, console))
    raise typer.Exit(1 if verdict.failed else 0)
