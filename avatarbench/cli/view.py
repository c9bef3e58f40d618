"""``avatarbench view``."""

from __future__ import annotations

import signal
import threading
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avatarbench.cli.runs import find_run
from avatarbench.errors import UsageError


class Up(StrEnum):
    """An upward axis."""

    x, y, z, minus_x, minus_y, minus_z = "x", "y", "z", "-x", "-y", "-z"


def view(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="CLOUD_OR_RUN",
            help="An avatar (.avatar), a cloud (.ply, .npz), the folder of a fit, or a run: its folder, id, or 'last'.",
        ),
    ],
    port: Annotated[int, typer.Option(help="Port of the page; 0 for any free one.", min=0, max=65535)] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: the whole network.")] = "127.0.0.1",
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    size: Annotated[int, typer.Option(help="Height of the exact picture, pixels.", min=16, max=4096)] = 512,
    up: Annotated[
        Up | None,
        typer.Option(help="Upward axis of a cloud, often -y; default: the rig's, or z."),
    ] = None,
) -> None:
    """View an avatar or a run in the browser: turn it, drive its expression and pose with sliders.

    \b
    avatarbench view fitted/501
    avatarbench view somebody.avatar --port 9000 --no-open
    avatarbench view point_cloud.ply --up -y
    avatarbench view last

    Ctrl-C ends it. Exit codes: 0 ended, 1 data that cannot be shown, 2 usage.
    """
    from avatarbench.viewer.server import check_server, start_server, stop_server

    check_server(host, port)  # before anything that takes a while
    if not path.exists():
        path = _run(path)
    from avatarbench.viewer.page import Page, hint_of, opened

    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    shown, hint = opened(path), hint_of(path)
    server = start_server(host, port, path.name)
    try:
        page = Page(server, shown, up.value if up else None, size, hint)
        address = f"http://{'localhost' if host in ('0.0.0.0', '::') else host}:{server.get_port()}"
        typer.echo(f"{address} shows {path}; Ctrl-C ends it.")
        if hint:
            typer.echo(hint, err=True)
        if open_ and not webbrowser.open(address):
            typer.echo("no browser was found here: open the address in one.", err=True)
        while not over.wait(1):  # a bare wait would not see signals on every system
            pass
        page.close()
    finally:
        stop_server(server)


def _run(name: Path) -> Path:
    try:
        return find_run(name)
    except UsageError as error:
        raise UsageError(f"{name} does not exist as a file or a folder, and there is {error}") from error
