"""``avatarbench method check`` and ``avatarbench method new``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avatarbench import registry
from avatarbench.cli.output import plain_table, stdout_console
from avatarbench.errors import UsageError

if TYPE_CHECKING:
    from avatarbench.conformance.checklist import Checklist, Outcome

app = typer.Typer(no_args_is_help=True)
MARKS = {"pass": ("✓", "green"), "warning": ("!", "yellow"), "fail": ("✗", "red"), "n/a": ("–", "dim")}


@app.command("check")
def check(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A registered method.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every registered method, a line each.")] = False,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "--set", metavar="KEY=VALUE", help="An option of the method; may be repeated."),
    ] = None,
    repo: Annotated[Path | None, typer.Option(help="An official method's repository: its option 'repo'.")] = None,
    weights: Annotated[Path | None, typer.Option(help="An official method's weights: its option 'weights'.")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write the checklists here as JSON, too.")] = None,
) -> None:
    """Run a method through the contract on embedded data, and print a checklist.

    \b
    avatarbench method check face-warp
    avatarbench method check mine --option strength=0.5 --json mine.json
    avatarbench method check lam --repo LAM --weights LAM/weights
    avatarbench method check --all

    Exit codes: 0 nothing fails, 1 something fails or the method could not be started here (with --all, that alone is
    no failure), 2 usage.
    """
    if every == (name is not None):
        raise UsageError("name one method, or give --all.")
    given = {"repo": repo, "weights": weights}
    options: dict[str, Any] = {key: str(path.expanduser().absolute()) for key, path in given.items() if path}
    if every and (option or options):
        raise UsageError("options are of one method: name it instead of --all.")
    if name is not None:
        registry.method(name)  # a wrong name is told before anything heavy is imported
    from avatarbench.cli.build import options_of
    from avatarbench.conformance.check import check as run
    from avatarbench.run.progress import console

    options |= options_of(option or [], "--option")
    found: list[Checklist] = []
    for one in [name] if name else registry.names("methods"):
        with console.status(f"{one} ...") as status:
            found.append(run(one, options, lambda doing, one=one: status.update(f"{one}: {doing} ...")))  # type: ignore[misc]
        if every:
            _line(found[-1])
    if not every:
        _print(found[0])
    if out is not None:
        _write(out, [one.to_dict() for one in found] if every else found[0].to_dict())
    if any(one.verdict == "fail" or (one.verdict == "not run" and not every) for one in found):
        raise typer.Exit(1)


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Of the method and of its package: lower case, such as my-method.")],
    isolated: Annotated[
        bool, typer.Option("--isolated", help="For an environment of its own, with its own packages.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="The folder to write. Default: NAME, here.")] = None,
) -> None:
    """Scaffold a method that works at once: a small package with its test.

    \b
    avatarbench method new my-method
    avatarbench method new my-method --isolated --out elsewhere/my-method
    """
    from avatarbench.conformance.scaffold import scaffold

    folder = out if out is not None else Path(name)
    for path in scaffold(name, folder, isolated):
        typer.echo(path)
    typer.echo("\nNow, in this order:")
    for command in (
        f"python -m pip install -e {shlex.quote(str(folder))}",
        f"avatarbench method check {name}",
        f"avatarbench run -m {name} -p portrait-cross --limit 4",
    ):
        typer.echo(f"  {command}")


def _print(found: Checklist) -> None:
    from rich.text import Text

    table = plain_table("", "check", "found", "what to do")
    for row in found.rows:
        mark = Text(*MARKS[row.outcome])
        table.add_row(mark, Text(row.name), Text(row.found), Text(row.todo if row.outcome != "pass" else ""))
    console = stdout_console()
    console.print(table)
    console.print(_summary(found), soft_wrap=True)


def _line(found: Checklist) -> None:
    """One method of ``--all``: its verdict and counts, and the first thing that is wrong."""
    wrong = [*found.of(("fail",)), *found.of(("warning",))]
    why = f" | {wrong[0].name}: {wrong[0].found}" if wrong else ""
    lacks = f" (lacks {len(found.blocked)} things: avatarbench method check {found.method})" if found.blocked else ""
    stdout_console().print(f"{_summary(found)}{lacks}{why}", soft_wrap=True, markup=False)


def _summary(found: Checklist) -> str:
    words: dict[Outcome, str] = {"pass": "passed", "warning": "warnings", "fail": "failed", "n/a": "not applicable"}
    counts = ", ".join(f"{found.count(outcome)} {word}" for outcome, word in words.items())
    return f"{found.method}: {found.verdict}: {counts}"


def _write(path: Path, content: Any) -> None:
    from avatarbench.files import writing

    with writing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
