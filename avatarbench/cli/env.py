"""``avatarbench env``: the environments of methods that cannot share ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from avatarbench import registry
from avatarbench.cli.output import stdout_console
from avatarbench.errors import AvatarbenchError, UsageError
from avatarbench.isolation import environments, listing, sandbox, store
from avatarbench.isolation.backend import Launch
from avatarbench.isolation.recipe import BACKENDS, Recipe, load

app = typer.Typer(
    help="Environments of methods that cannot share ours: built once, each with its own Python and packages.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Methods = Annotated[list[str], typer.Argument(metavar="METHOD...", help="Method ids, or package.module:RECIPE.")]
Method = Annotated[str, typer.Argument(metavar="METHOD", help="A method's id, or package.module:RECIPE.")]
BackendOption = Annotated[
    str | None, typer.Option("--backend", help=f"In place of the recipe's own: {', '.join(BACKENDS)}.")
]
RepoOption = Annotated[
    Path | None, typer.Option("--repo", help="The method's checkout, where its build takes something from it.")
]


@app.command(
    "list", help="Every environment here: built, half built or gone, with its size.\n\nExample: avatarbench env list"
)
def list_() -> None:
    table = Table(title=f"Environments ({store.root()})", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("name", "method", "backend", "state", "size", "built"):
        table.add_column(column, no_wrap=column == "name", overflow="fold")
    rows = listing.rows()
    for row in rows:
        colour = "green" if row.state == "ready" else "yellow"
        size = "?" if row.size is None else f"{row.size / 1e6:.1f} MB"
        table.add_row(row.name, row.method, row.backend, f"[{colour}]{escape(row.state)}[/]", size, row.built)
    stdout_console().print(table)
    if not rows:
        typer.echo("none yet. `avatarbench env build METHOD` builds one; a run builds what it needs.")


@app.command(
    help="Build the environments of methods, or find them built.\n\n"
    "Examples: avatarbench env build cvthead; avatarbench env build lam --repo ~/LAM --backend docker\n\n"
    "A build that was killed goes on at the step that it was in. Two at once: the second waits for the first."
)
def build(methods: Methods, backend: BackendOption = None, repo: RepoOption = None) -> None:
    for recipe in [recipe_of(method, backend) for method in methods]:
        console = Console(stderr=True)
        with console.status(f"looking for {recipe.name} ...") as status:
            made = environments.ensure(recipe, repository=_folder(repo), progress=_Shown(console, status))
        typer.echo(f"{made.name}  Python {made.python_version}, {len(made.packages)} packages  {made.python}")


@app.command(
    context_settings={"ignore_unknown_options": True},
    help="Start a shell, or a command, in a method's environment, as shut in as the method itself is.\n\n"
    "Examples: avatarbench env shell cvthead; avatarbench env shell cvthead -- python -m pip list\n\n"
    "The current folder is writable. Exits with the command's exit code.",
)
def shell(
    method: Method,
    command: Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND...", help="By default a shell.")] = None,
    backend: BackendOption = None,
    network: Annotated[bool, typer.Option("--network", help="Leave the network open.")] = False,
) -> None:
    recipe = recipe_of(method, backend)
    found = environments.find(recipe)
    if found is None:
        raise UsageError(f"the environment {recipe.name} is not built. Build it with: avatarbench env build {method}")
    here = Path.cwd()
    terminal = not command and _is_terminal()
    launch = Launch(tuple(command or ("sh",)), here, (here,), network=network or recipe.network, terminal=terminal)
    started = found.backend.command(recipe, found.folder, launch)
    with store.in_use(found.folder.name) as using:
        try:
            process = subprocess.Popen(started.argv, env=started.variables, pass_fds=(using,))
        except OSError as error:
            raise AvatarbenchError(f"{started.argv[0]} cannot be started: {error.strerror}.") from error
        code = _wait(process)
    raise typer.Exit(code if code >= 0 else 128 - code)


@app.command(
    help="Remove environments: by name, or all of a method.\n\n"
    "Examples: avatarbench env remove cvthead-3f2a9c4d5e6f; avatarbench env remove cvthead --yes\n\n"
    "Asks first. What runs, or is being built, is not removed."
)
def remove(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names that `env list` shows, or methods.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    rows = listing.rows()
    chosen: dict[str, listing.Row] = {}
    for name in names:
        meant = {row.name: row for row in rows if name in (row.name, row.method)}
        if not meant:
            known = [*(row.name for row in rows), *(row.method for row in rows)]
            raise UsageError(f"there is no environment of '{name}' in {store.root()}{registry.suggest(name, known)}")
        chosen |= meant
    for row in chosen.values():
        typer.echo(f"{row.name}  {row.backend}  {row.state}")
    if not yes and not typer.confirm(f"Remove {len(chosen)} of {len(rows)} environments?"):
        raise typer.Exit(1)
    for name in chosen:
        environments.remove(name)
        typer.echo(f"removed {name}")


@app.command(
    help="Which kinds of environment this machine can have, and what keeps a process in.\n\n"
    "Example: avatarbench env doctor\n\nExits with 1 where no backend works."
)
def doctor() -> None:
    table = Table(title="Backends", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("backend", "works", "found", "why not"):
        table.add_column(column, no_wrap=column == "backend", overflow="fold")
    reports = listing.backends()
    for report in reports:
        mark = "[red]no[/]" if report.lacks else "[green]yes[/]"
        table.add_row(report.name, mark, escape(report.version), escape("; ".join(report.lacks)))
    console = stdout_console()
    console.print(table)
    able = sandbox.powers()
    console.print("What keeps a process of a venv or conda environment in, here:")
    console.print(f"  network  {f'open: {able.network}' if able.network else 'cut off'}", markup=False)
    console.print(
        f"  files    {f'not protected: {able.mounts}' if able.mounts else 'read-only but the job folder'}", markup=False
    )
    console.print(f"  memory   a limit holds {sandbox.memory_holds()}", markup=False)
    if all(report.lacks for report in reports):
        raise typer.Exit(1)


def recipe_of(method: str, backend: str | None) -> Recipe:
    """The recipe of a registered method, or one named ``package.module:RECIPE``.

    Raises UsageError where the method runs in our own process.
    """
    if ":" in method:
        return load(method).using(backend)
    spec = registry.method(method)
    if spec.status == "unavailable":
        raise UsageError(f"'{method}' has no public code, so it has no environment: avatarbench show method {method}")
    if spec.environment == "inprocess":
        raise UsageError(f"'{method}' runs in avatarbench's own process: it needs no environment.")
    return load(spec.environment).using(backend)


def _folder(repo: Path | None) -> Path | None:
    if repo is None:
        return None
    if not repo.expanduser().is_dir():
        raise UsageError(f"--repo names {repo}, which is no folder.")
    return repo.expanduser().resolve()


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Its exit code. Ctrl-C reaches what runs inside by itself, which may live on, as an interpreter at its prompt."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


class _Shown:
    """The step with the last line of the log, where the terminal shows it; each step's start as a line of its own."""

    def __init__(self, console: Console, status: Status) -> None:
        self._console, self._status, self._step = console, status, ""

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._status.update(escape(text))

    def step(self, name: str, number: int, total: int) -> None:
        self._step = f"step {number} of {total}: {name}"
        self.say(f"  {self._step}")

    def line(self, text: str) -> None:
        width = max(20, self._console.width - len(self._step) - 8)
        self._status.update(escape(f"{self._step}  {text.strip()[:width]}"))
