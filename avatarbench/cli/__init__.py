"""The command line: one file a verb. Nothing heavy is imported until a verb needs it."""

from __future__ import annotations

import errno
import sys

import typer

import avatarbench
from avatarbench.cli import (
    animate,
    assets,
    baseline,
    build,
    calibrate,
    check,
    data,
    env,
    fit,
    generate,
    method,
    run,
    score,
    show,
    table,
    track,
    train,
    view,
)
from avatarbench.cli import list as list_
from avatarbench.cli.doctor import doctor
from avatarbench.errors import AvatarbenchError

EXIT_CODES = """Exit codes: 0 complete, 3 partial (some frames have no value; the table says why), 2 usage, 1 failure,
130 interrupted."""

app = typer.Typer(
    name="avatarbench",
    help="Evaluation harness for one-shot, animatable head avatars.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("run", context_settings={"allow_extra_args": False})(run.run)
app.command("score")(score.score)
app.command("table")(table.table)
app.command("check")(check.check)
app.command("list")(list_.list_)
app.command("show")(show.show)
app.command("track")(track.track)
app.command("fit")(fit.fit)
app.command("generate")(generate.generate)
app.command("build")(build.build)
app.command("animate")(animate.animate)
app.command("view")(view.view)
app.command("calibrate")(calibrate.calibrate)
app.command("doctor")(doctor)
app.add_typer(data.app, name="data", help="Data sets that are generated here.")
app.add_typer(baseline.app, name="baseline", help="Baselines: what a run scored, kept to hold later runs against.")
app.add_typer(train.app, name="train", help="Train a method, stage by stage.")
app.add_typer(method.app, name="method", help="A method of yours: a scaffold, and a check of the contract.")
app.add_typer(env.app, name="env", help="Environments of methods that cannot share ours.")
app.add_typer(assets.app, name="assets", help="Weights and files: pinned, verified, pulled without a login.")


@app.callback(invoke_without_command=True)
def version(show_version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if show_version:
        typer.echo(avatarbench.__version__)
        raise typer.Exit


def main() -> None:
    """Run the CLI. What a user can act on is printed as one message, never as a traceback."""
    try:
        app()
    except AvatarbenchError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        hint = " Free some space, then try again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        _fail(f"{error.strerror or error}: {error.filename or ''}.{hint}", 1)


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"avatarbench: {message}\n")
    sys.exit(code)
