"""The page's server: started on one port, or an error that says which."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import socket
from typing import TYPE_CHECKING

from avatarbench.errors import UsageError

if TYPE_CHECKING:
    from viser import ViserServer


def check_server(host: str, port: int) -> None:
    """Raises UsageError for a port that is taken or not allowed, a host that is not this machine's, and where viser is
    not installed. Cheap: imports nothing."""
    if importlib.util.find_spec("viser") is None:
        raise UsageError(
            "the viewer needs the package viser, which is not installed: pip install 'avatarbench[viewer]'"
        )
    _check_port(host, port)  # viser would take the next free port and say so only in passing


def start_server(host: str, port: int, title: str) -> ViserServer:
    """A viser server that listens on exactly ``host`` and ``port``, any free port for 0. Raises UsageError as
    :func:`check_server` does."""
    check_server(host, port)
    import viser

    with contextlib.redirect_stdout(io.StringIO()):  # its greeting; the command says the address
        server = viser.ViserServer(host=host, port=port, label=title, verbose=False)
    if port and server.get_port() != port:
        server.stop()
        raise UsageError(_taken(host, port))
    server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
    return server


def stop_server(server: ViserServer) -> None:
    """Close the port and every page's connection."""
    with contextlib.redirect_stdout(io.StringIO()):
        server.stop()


def _check_port(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise UsageError(f"--host {host} is no address of this machine ({error.strerror}): try 127.0.0.1.") from error
    except PermissionError as error:
        raise UsageError(f"port {port} is not allowed to this user: choose one above 1023 with --port.") from error
    except OSError as error:
        raise UsageError(_taken(host, port, error.strerror or str(error))) from error


def _taken(host: str, port: int, why: str = "Address already in use") -> str:
    return f"port {port} of {host} cannot be had ({why}): choose another with --port, or --port 0 for any that is free."
